{# The flag is false in every row; a null is not false. #}
{% test never_true(model, column_name) %}
select {{ column_name }}
from {{ model }}
where coalesce({{ column_name }}, true)
{% endtest %}
