with levels as (

    select * from {{ source('silver', 'inventory_levels') }}

),

final as (

    select
        sku,
        warehouse_id,
        on_hand,
        occurred_at
    from levels

)

select * from final
