with sessions as (

    select * from {{ ref('stg_sessions') }}

),

counted as (

    select
        event_date,
        count(*) as sessions,
        count_if(has_view) as view_sessions,
        count_if(has_cart) as cart_sessions,
        count_if(has_checkout) as checkout_sessions,
        count_if(has_purchase) as purchase_sessions,
        count_if(has_view and has_cart) as view_and_cart_sessions,
        count_if(has_cart and has_checkout) as cart_and_checkout_sessions,
        count_if(has_checkout and has_purchase) as checkout_and_purchase_sessions
    from sessions
    group by event_date

),

final as (

    select
        event_date,
        sessions,
        view_sessions,
        cart_sessions,
        checkout_sessions,
        purchase_sessions,
        cast(view_and_cart_sessions / nullif(view_sessions, 0) as decimal(5, 4)) as view_to_cart_rate,
        cast(cart_and_checkout_sessions / nullif(cart_sessions, 0) as decimal(5, 4)) as cart_to_checkout_rate,
        cast(checkout_and_purchase_sessions / nullif(checkout_sessions, 0) as decimal(5, 4)) as checkout_to_purchase_rate,
        cast(purchase_sessions / sessions as decimal(5, 4)) as conversion_rate
    from counted

)

select * from final
