with customers as (

    select * from {{ ref('stg_customers') }}

),

orders as (

    select * from {{ ref('stg_orders') }}

),

buyers as (

    select distinct customer_id
    from orders
    where customer_id is not null

),

known as (

    select
        customers.customer_id,
        coalesce(customers.customer_name, 'Unknown') as customer_name,
        coalesce(customers.region, 'Unknown') as region,
        customers.created_at,
        customers.is_deleted,
        false as is_anonymous,
        false as is_unknown
    from customers
    left join buyers on customers.customer_id = buyers.customer_id
    where not customers.is_deleted or buyers.customer_id is not null

),

-- Orders point to them, and neither a live nor a deleted row was ever seen.
unknown as (

    select
        buyers.customer_id,
        'Unknown' as customer_name,
        'Unknown' as region,
        cast(null as timestamp) as created_at,
        false as is_deleted,
        false as is_anonymous,
        true as is_unknown
    from buyers
    left anti join customers on buyers.customer_id = customers.customer_id

),

anonymous as (

    select
        cast(-1 as bigint) as customer_id,
        'Anonymous' as customer_name,
        'Unknown' as region,
        cast(null as timestamp) as created_at,
        false as is_deleted,
        true as is_anonymous,
        false as is_unknown

),

final as (

    select * from known
    union all
    select * from unknown
    union all
    select * from anonymous

)

select * from final
