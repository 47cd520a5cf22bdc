-- What the connector is told: every insert, update, delete and truncate of the four tables, and the requests to it. The
-- connector can't change the publication (publication.autocreate.mode=disabled): a new captured table is added here, on purpose.
\set ON_ERROR_STOP on
\set QUIET on
set client_min_messages = warning;

select 'create publication lakehouse'
where not exists (select from pg_publication where pubname = 'lakehouse')
\gexec

alter publication lakehouse set table customers, products, orders, heartbeats, lakehouse_signals;
alter publication lakehouse set (publish = 'insert, update, delete, truncate');
