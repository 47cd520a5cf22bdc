{# A line can't earn more than it brought in. A null profit (unknown cost) is no value. #}
{% test profit_not_above_amount(model, column_name, amount) %}
select {{ amount }}, {{ column_name }}
from {{ model }}
where {{ column_name }} > {{ amount }}
{% endtest %}
