{# After an incremental run: delete the rows of this model whose key is no longer in `relation`. A merge of new and changed
   rows can't do that. Nothing is committed where no key is gone. #}
{% macro remove_rows_gone_from(relation, key) -%}
    {%- set gone -%}
        select built.{{ key }}
        from {{ this }} as built
        left anti join {{ relation }} as present on built.{{ key }} = present.{{ key }}
    {%- endset -%}
    {%- if execute and is_incremental() and run_query(gone ~ ' limit 1').rows | length > 0 -%}
        merge into {{ this }} as mart
        using ({{ gone }}) as gone
        on mart.{{ key }} = gone.{{ key }}
        when matched then delete
    {%- endif -%}
{%- endmacro %}
