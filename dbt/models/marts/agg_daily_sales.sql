with orders as (

    select * from {{ ref('fct_orders') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

segments as (

    select * from {{ ref('customer_segments') }}

),

lines as (

    select
        orders.*,
        orders.line_type = 'sale' as is_sale,
        coalesce(products.category, 'Unknown') as category,
        coalesce(customers.region, 'Unknown') as region,
        case
            when orders.customer_id = -1 then 'Anonymous'
            else coalesce(segments.segment, 'Unclassified')
        end as segment
    from orders
    left join products on orders.product_id = products.product_id
    left join customers on orders.customer_id = customers.customer_id
    left join segments on orders.customer_id = segments.customer_id
    where orders.is_revenue

),

summed as (

    select
        order_date,
        category,
        region,
        segment,
        count_if(is_sale) as orders,
        count(distinct case when is_sale and customer_id <> -1 then customer_id end) as customers,
        sum(quantity) as quantity,
        sum(amount) as revenue,
        coalesce(sum(case when is_sale then amount end), 0) as sales_amount,
        sum(cost) as cost,
        sum(profit) as profit,
        sum(case when cost is not null then amount end) as costed_revenue
    from lines
    group by order_date, category, region, segment

),

final as (

    select
        order_date,
        category,
        region,
        segment,
        orders,
        customers,
        quantity,
        cast(revenue as decimal(22, 2)) as revenue,
        cast(sales_amount / nullif(orders, 0) as decimal(22, 2)) as average_order_value,
        cast(cost as decimal(34, 2)) as cost,
        cast(profit as decimal(34, 2)) as profit,
        cast(costed_revenue as decimal(22, 2)) as costed_revenue,
        cast(profit / nullif(costed_revenue, 0) as decimal(18, 4)) as margin
    from summed

)

select * from final
