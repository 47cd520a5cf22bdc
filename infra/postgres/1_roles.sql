-- Three roles, each with what its work needs and no more. Run as a superuser, in the source's database, as often as
-- you like: `psql -f 1_roles.sql`, with the three passwords in the environment.
\set ON_ERROR_STOP on
\set QUIET on
\getenv app_password LAKEHOUSE_POSTGRES_PASSWORD
\getenv debezium_password LAKEHOUSE_POSTGRES_DEBEZIUM_PASSWORD
\getenv reader_password LAKEHOUSE_POSTGRES_READER_PASSWORD
set client_min_messages = warning;
-- A password must not reach the server's log.
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';

select format('create role %I login', name)
from (values ('app'), ('debezium'), ('reader')) as wanted (name)
where not exists (select from pg_roles where rolname = wanted.name)
\gexec

-- The shop itself: owner of its tables.
alter role app with login nosuperuser nocreatedb nocreaterole noreplication password :'app_password';
-- The connector: reads the write-ahead log, the tables for its snapshot, and beats the heart.
alter role debezium with login nosuperuser nocreatedb nocreaterole replication password :'debezium_password';
-- The night: counts and hashes the source's rows to compare them with Silver.
alter role reader with login nosuperuser nocreatedb nocreaterole noreplication password :'reader_password';

grant usage, create on schema public to app;
grant usage on schema public to debezium, reader;
