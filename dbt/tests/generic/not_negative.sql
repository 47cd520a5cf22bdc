{# No value is below zero; a null is no value. Give `config: {where: ...}` for the rows that the rule is about. #}
{% test not_negative(model, column_name) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} < 0
{% endtest %}
