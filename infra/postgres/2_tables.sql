-- The shop's tables. No foreign keys and no checks: a real source has rows that break its own rules, and the lakehouse
-- has to say so, not the database.
\set ON_ERROR_STOP on
\set QUIET on
set client_min_messages = warning;
set role app;

create table if not exists customers (
    customer_id bigint primary key,
    customer_name text not null,
    email text,
    region text,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table if not exists products (
    product_id text primary key,
    product_name text not null,
    category text,
    -- Long: kept out of line, so the log omits it when an update does not touch it.
    description text,
    unit_cost numeric(12, 2),
    unit_price numeric(12, 2) not null,
    updated_at timestamptz not null
);
alter table products alter column description set storage external;

create table if not exists orders (
    order_id bigint primary key,
    customer_id bigint,
    product_id text not null,
    order_date date not null,
    quantity int not null,
    amount numeric(12, 2) not null,
    status text not null,
    updated_at timestamptz not null
);

-- One row that the connector updates: it moves the slot on while the shop sleeps, and shows how far behind Bronze is.
create table if not exists heartbeats (
    id int primary key,
    beat bigint not null,
    beat_at timestamptz not null
);
insert into heartbeats (id, beat, beat_at) values (1, 0, now()) on conflict do nothing;

-- Requests to the connector to read single rows again (the night, and `lakehouse reconcile --repair`), in Debezium's
-- form. The connector finds them in the log; the table itself stays empty, for they are deleted as they are written.
create table if not exists lakehouse_signals (
    id text primary key,
    type text not null,
    data text
);

reset role;
grant select on customers, products, orders, heartbeats to debezium, reader;
grant select on lakehouse_signals to debezium;
grant update on heartbeats to debezium;
