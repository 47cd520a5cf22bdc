with products as (

    select * from {{ ref('stg_products') }}

),

orders as (

    select * from {{ ref('stg_orders') }}

),

sold as (

    select distinct product_id
    from orders

),

known as (

    select
        products.product_id,
        coalesce(products.product_name, 'Unknown') as product_name,
        coalesce(products.category, 'Unknown') as category,
        products.unit_cost,
        products.unit_price,
        coalesce(products.category = 'Fees', false) as is_fee,
        products.is_deleted,
        false as is_unknown
    from products
    left join sold on products.product_id = sold.product_id
    where not products.is_deleted or sold.product_id is not null

),

-- Orders point to them, and neither a live nor a deleted row was ever seen.
unknown as (

    select
        sold.product_id,
        'Unknown' as product_name,
        'Unknown' as category,
        cast(null as decimal(12, 2)) as unit_cost,
        cast(null as decimal(12, 2)) as unit_price,
        false as is_fee,
        false as is_deleted,
        true as is_unknown
    from sold
    left anti join products on sold.product_id = products.product_id

),

final as (

    select * from known
    union all
    select * from unknown

)

select * from final
