with products as (

    select * from {{ source('silver', 'products') }}

),

deleted as (

    select * from {{ source('silver', 'products_deleted') }}

),

live as (

    select product_id, product_name, category, unit_cost, unit_price, updated_at, false as is_deleted
    from products

),

-- A key that was deleted and used again is live.
gone as (

    select product_id, product_name, category, unit_cost, unit_price, updated_at, true as is_deleted
    from deleted
    left anti join products using (product_id)

),

final as (

    select * from live
    union all
    select * from gone

)

select * from final
