with orders as (

    select * from {{ source('silver', 'orders') }}

),

final as (

    select
        order_id,
        customer_id,
        product_id,
        order_date,
        quantity,
        amount,
        status,
        updated_at
    from orders

)

select * from final
