{# The sum of `column` equals the sum of `other_column` over the rows of `other` that match `other_where`. #}
{% test same_total_as(model, column, other, other_column, other_where='true') %}
with here as (
    select coalesce(sum({{ column }}), 0) as total from {{ model }}
),
there as (
    select coalesce(sum({{ other_column }}), 0) as total from {{ other }} where {{ other_where }}
)
select here.total as found, there.total as expected
from here
cross join there
where here.total <> there.total
{% endtest %}
