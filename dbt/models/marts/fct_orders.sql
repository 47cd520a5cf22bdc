{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='order_id',
    on_schema_change='fail',
    post_hook="{{ remove_rows_gone_from(ref('int_order_items'), 'order_id') }}"
) }}

with items as (

    select * from {{ ref('int_order_items') }}

),

final as (

    select
        order_id,
        customer_id,
        product_id,
        order_date,
        status,
        line_type,
        is_revenue,
        quantity,
        amount,
        unit_cost,
        cost,
        profit,
        updated_at
    from items

)

select * from final

{% if is_incremental() %}

-- What is not in the table exactly like this: new, late and changed orders, and orders whose product got another cost
-- or category. No date or position is compared, so none can be wrong (decision: gold is a function of silver).
except

select
    order_id,
    customer_id,
    product_id,
    order_date,
    status,
    line_type,
    is_revenue,
    quantity,
    amount,
    unit_cost,
    cost,
    profit,
    updated_at
from {{ this }}

{% endif %}
