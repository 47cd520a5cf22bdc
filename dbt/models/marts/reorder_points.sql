with levels as (

    select * from {{ ref('stg_inventory_levels') }}

),

orders as (

    select * from {{ ref('fct_orders') }}

),

-- A young shop has fewer days of sales than the window: its rate is taken over the days that it has.
observed as (

    select
        greatest(1, least(
            {{ var('demand_window_days') }},
            coalesce(datediff({{ business_date() }}, min(order_date)) + 1, {{ var('demand_window_days') }})
        )) as window_days
    from orders

),

daily as (

    select
        orders.product_id as sku,
        orders.order_date,
        sum(orders.quantity) as units
    from orders
    cross join observed
    where orders.is_revenue
        and orders.line_type = 'sale'
        and orders.order_date <= {{ business_date() }}
        and orders.order_date > date_sub({{ business_date() }}, observed.window_days)
    group by orders.product_id, orders.order_date

),

-- Days without a sale count as zero without being there: mean and variance from the sums.
demand as (

    select
        daily.sku,
        sum(daily.units) / max(observed.window_days) as mean_units,
        case
            when max(observed.window_days) > 1 then greatest(0, (
                sum(daily.units * daily.units) - sum(daily.units) * sum(daily.units) / max(observed.window_days)
            ) / (max(observed.window_days) - 1))
            else 0
        end as variance_units
    from daily
    cross join observed
    group by daily.sku

),

-- Orders do not say which warehouse they leave from: each that holds the product carries an equal share.
shared as (

    select
        levels.sku,
        levels.warehouse_id,
        levels.on_hand,
        coalesce(demand.mean_units, 0) / count(*) over (partition by levels.sku) as daily_demand,
        sqrt(coalesce(demand.variance_units, 0) / count(*) over (partition by levels.sku)) as demand_stddev
    from levels
    left join demand on levels.sku = demand.sku

),

-- A quotient of doubles may be a hair above a whole number, and would be rounded up by a whole piece.
sized as (

    select
        *,
        cast(ceil(round(
            {{ var('service_factor') }} * demand_stddev * sqrt({{ var('lead_time_days') }}), 6
        )) as int) as safety_stock
    from shared

),

pointed as (

    select
        *,
        cast(ceil(round(daily_demand * {{ var('lead_time_days') }}, 6)) as int) + safety_stock as reorder_point
    from sized

),

final as (

    select
        sku,
        warehouse_id,
        {{ business_date() }} as as_of_date,
        round(cast(daily_demand as double), 4) as daily_demand,
        round(cast(demand_stddev as double), 4) as demand_stddev,
        cast({{ var('lead_time_days') }} as int) as lead_time_days,
        safety_stock,
        reorder_point,
        on_hand,
        case
            when on_hand <= reorder_point then greatest(0, cast(ceil(round(
                daily_demand * ({{ var('lead_time_days') }} + {{ var('cover_days') }}), 6
            )) as int) + safety_stock - on_hand)
            else 0
        end as suggested_quantity
    from pointed

)

select * from final
