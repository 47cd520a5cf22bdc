{# The business day as a DATE; the clock is never asked, so that a night can be run again. #}
{% macro business_date() -%}
    {%- set day = var('business_date', none) -%}
    {%- if execute and not day -%}
        {{ exceptions.raise_compiler_error("The variable business_date is missing: pass --vars '{business_date: 2026-11-23}'.") }}
    {%- endif -%}
    cast('{{ day }}' as date)
{%- endmacro %}
