with clicks as (

    select * from {{ source('silver', 'clicks') }}

),

final as (

    select
        event_id,
        session_id,
        user_id,
        event_type,
        product_id,
        event_at,
        event_date
    from clicks

)

select * from final
