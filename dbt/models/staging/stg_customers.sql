with customers as (

    select * from {{ source('silver', 'customers') }}

),

deleted as (

    select * from {{ source('silver', 'customers_deleted') }}

),

live as (

    select customer_id, customer_name, region, created_at, updated_at, false as is_deleted
    from customers

),

-- A key that was deleted and used again is live.
gone as (

    select customer_id, customer_name, region, created_at, updated_at, true as is_deleted
    from deleted
    left anti join customers using (customer_id)

),

final as (

    select * from live
    union all
    select * from gone

)

select * from final
