{# The newest day is at most `limit_days` older than the business date. An empty table is not recent. #}
{% test recency(model, column_name, limit_days) %}
select max({{ column_name }}) as newest
from {{ model }}
having coalesce(max({{ column_name }}) < date_sub({{ business_date() }}, {{ limit_days }}), true)
{% endtest %}
