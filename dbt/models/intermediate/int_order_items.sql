with orders as (

    select * from {{ ref('stg_orders') }}

),

products as (

    select * from {{ ref('stg_products') }}

),

joined as (

    select
        orders.*,
        coalesce(products.category, 'Unknown') as category,
        products.unit_cost,
        case
            when products.category = 'Fees' then 'fee'
            when orders.quantity < 0 then 'return'
            else 'sale'
        end as line_type
    from orders
    left join products on orders.product_id = products.product_id

),

final as (

    select
        order_id,
        coalesce(customer_id, -1) as customer_id,
        product_id,
        category,
        order_date,
        status,
        line_type,
        line_type <> 'fee' and coalesce(status, '') <> 'cancelled' as is_revenue,
        quantity,
        amount,
        unit_cost,
        -- Wide enough for every quantity and price of the source: with ANSI off an overflow would be a silent null.
        cast(quantity * unit_cost as decimal(24, 2)) as cost,
        cast(amount - quantity * unit_cost as decimal(24, 2)) as profit,
        updated_at
    from joined

)

select * from final
