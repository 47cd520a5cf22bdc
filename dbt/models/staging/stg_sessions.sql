with sessions as (

    select * from {{ source('silver', 'sessions') }}

),

final as (

    select
        session_id,
        user_id,
        is_inferred,
        started_at,
        event_date,
        has_view,
        has_cart,
        has_checkout,
        has_purchase
    from sessions

)

select * from final
