with orders as (

    select * from {{ ref('fct_orders') }}

),

-- The anonymous row is many people; returns lower what a customer was worth, and are no purchase.
purchases as (

    select
        customer_id,
        max(case when line_type = 'sale' then order_date end) as last_purchase_date,
        count(distinct case when line_type = 'sale' then order_date end) as frequency,
        sum(amount) as monetary
    from orders
    where is_revenue and customer_id <> -1 and order_date <= {{ business_date() }}
    group by customer_id

),

measured as (

    select
        customer_id,
        {{ business_date() }} as as_of_date,
        last_purchase_date,
        datediff({{ business_date() }}, last_purchase_date) as recency_days,
        frequency,
        monetary
    from purchases
    where last_purchase_date is not null

),

-- Fifths by rank; equal values get the equal score, so that no order of rows can change one.
scored as (

    select
        *,
        cast(greatest(1, 5 - floor(5 * percent_rank() over (order by recency_days))) as int) as recency_score,
        cast(least(5, 1 + floor(5 * percent_rank() over (order by frequency))) as int) as frequency_score,
        cast(least(5, 1 + floor(5 * percent_rank() over (order by monetary))) as int) as monetary_score
    from measured

),

final as (

    select
        customer_id,
        as_of_date,
        last_purchase_date,
        recency_days,
        frequency,
        monetary,
        recency_score,
        frequency_score,
        monetary_score,
        case
            when recency_score >= 4 and frequency_score >= 4 then 'Champions'
            when recency_score >= 4 and frequency = 1 then 'New'
            when recency_score >= 3 and frequency_score >= 3 then 'Loyal'
            when recency_score >= 3 then 'Promising'
            when frequency_score >= 3 or monetary_score >= 4 then 'At risk'
            else 'Lost'
        end as segment
    from scored

)

select * from final
