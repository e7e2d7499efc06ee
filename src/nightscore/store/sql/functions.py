"""Which functions of DuckDB a job's SQL may call, and which of them depend on the order of rows.

Allow lists: what a later DuckDB brings is refused until it is known here.
"""

from collections.abc import Mapping

# A table function reads a file, or the state of the process, unless it is one of these.
TABLE_FUNCTIONS = frozenset({
    "unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree",
})  # fmt: skip

# What most SQL calls: DuckDB says that it is consistent. To ask it, of all functions, takes 0.1 s.
PLAIN = frozenset({
    "*", "/", "//", "%", "**", "^", "||", "~~", "!~~", "abs", "avg", "bool_and", "bool_or", "ceil", "concat",
    "concat_ws", "contains", "corr", "count", "count_star", "exp", "first", "floor", "greatest", "grouping",
    "isfinite", "isinf", "lag", "last", "lead", "least", "len", "length", "list", "list_value", "ln", "log",
    "lower", "md5", "md5_number", "max", "mean", "median", "min", "mod", "mode", "pow", "power",
    "quantile_cont", "quantile_disc", "rank", "dense_rank", "regexp_matches", "replace", "round",
    "row_number", "row", "sqrt", "starts_with", "stddev", "string_agg", "struct_extract", "struct_pack",
    "substring", "sum", "trim", "upper", "any_value", "arg_max", "arg_min", "array_extract",
    "list_transform", "ascii", "pi", "first_value", "last_value", "variance",
})  # fmt: skip

# Scalar functions that DuckDB does not call consistent (by the session's time zone, which is fixed here; by a
# variable, which is bound; by an error), and that have one value in any run of a day.
STEADY = frozenset({
    "getvariable", "error", "+", "-", "age", "date_diff", "datediff", "date_part", "datepart", "date_sub",
    "datesub", "date_trunc", "datetrunc", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "decade",
    "century", "era", "hour", "isodow", "isoyear", "julian", "last_day", "make_timestamptz", "microsecond",
    "millennium", "millisecond", "minute", "month", "monthname", "quarter", "second", "strftime",
    "time_bucket", "timezone", "timezone_hour", "timezone_minute", "week", "weekday", "weekofyear", "year",
    "yearweek", "range", "generate_series",
})  # fmt: skip

# DuckDB's macros that stand for consistent functions. Those for the server's state are not among them.
MACROS = frozenset({
    "array_append", "array_pop_back", "array_pop_front", "array_prepend", "array_push_back",
    "array_push_front", "array_reverse", "array_to_string", "array_to_string_comma_default", "assert_true",
    "date_add", "days_in_month", "fdiv", "generate_subscripts", "if", "json",
    "list_any_value", "list_append", "list_avg", "list_bit_and", "list_bit_or", "list_bit_xor",
    "list_bool_and", "list_bool_or", "list_count", "list_entropy", "list_first", "list_histogram",
    "list_kurtosis", "list_kurtosis_pop", "list_last", "list_mad", "list_max", "list_median", "list_min",
    "list_mode", "list_prepend", "list_product", "list_reverse", "list_sem", "list_skewness",
    "list_stddev_pop", "list_stddev_samp", "list_string_agg", "list_sum", "list_var_pop", "list_var_samp",
    "map_contains_entry", "map_contains_value", "md5_number_lower", "md5_number_upper", "nullif",
    "pg_typeof", "split_part", "regexp_split_to_table",
})  # fmt: skip

# Not the same from one version of DuckDB to the next, or not exact: what to write instead.
BY_TEXT = "md5_number of a canonical text, such as md5_number(concat_ws('|', id, 'fold'))"
NO_ESTIMATE = "count(DISTINCT x), quantile_cont(x, 0.5) and the like, which are exact"
INEXACT: Mapping[str, str] = {
    "hash": BY_TEXT,
    "create_sort_key": "the columns themselves",
    "approx_count_distinct": NO_ESTIMATE,
    "list_approx_count_distinct": NO_ESTIMATE,
    "approx_quantile": NO_ESTIMATE,
    "approx_top_k": NO_ESTIMATE,
    "reservoir_quantile": NO_ESTIMATE,
    "version": "nothing: the receipt names it",
    "json_serialize_plan": "nothing: a plan is not data",
    "json_serialize_sql": "the SQL itself",
    "json_deserialize_sql": "the SQL itself",
}
LIST_AGGREGATES = frozenset({
    "list_aggregate", "list_aggr", "array_aggregate", "array_aggr", "aggregate",
})  # fmt: skip

# Aggregates whose last bits depend on the order in which rows are added (or, of several most frequent values,
# which one it is): put into the order of their arguments. DuckDB forgets that order where integers and
# decimals are summed, which is why no type has to be known here.
SUMS = frozenset({
    "sum", "avg", "mean", "fsum", "sumkahan", "kahan_sum", "favg", "product", "stddev", "stddev_pop",
    "stddev_samp", "variance", "var_pop", "var_samp", "sem", "skewness", "kurtosis", "kurtosis_pop", "corr",
    "covar_pop", "covar_samp", "regr_avgx", "regr_avgy", "regr_intercept", "regr_r2", "regr_slope",
    "regr_sxx", "regr_sxy", "regr_syy", "mode",
})  # fmt: skip

# Aggregates that take one of several rows, where which one is not the author's question.
CHOOSING = frozenset({
    "any_value", "arg_max", "arg_min", "argmax", "argmin", "max_by", "min_by", "arg_max_null",
    "arg_min_null", "arg_max_nulls_last", "arg_min_nulls_last",
})  # fmt: skip

# Aggregates that are nothing without an order.
ORDERED = frozenset({
    "list", "array_agg", "string_agg", "group_concat", "listagg", "first", "last", "arbitrary",
})  # fmt: skip

# Macros over such aggregates, which take no ORDER BY, and one that forgets it: what to write instead.
UNORDERED: Mapping[str, str] = {
    "entropy": "-sum(p * log2(p)) over the shares p of a GROUP BY",
    "geomean": "exp(avg(ln(x)))",
    "geometric_mean": "exp(avg(ln(x)))",
    "wavg": "sum(x * weight) / sum(weight)",
    "weighted_avg": "sum(x * weight) / sum(weight)",
    "json_group_array": "to_json(list(x ORDER BY …))",
    "json_group_object": "to_json(map(list(key ORDER BY key), list(value ORDER BY key)))",
    "json_group_structure": "json_structure(to_json(list(x ORDER BY …)))",
    "variant_group_array": "list(x ORDER BY …)",
    "variant_group_object": "map(list(key ORDER BY key), list(value ORDER BY key))",
    "lttb": "a window with an ORDER BY",
}

# Window functions that count rows: row_number, and what looks some rows up or down.
POSITIONS = frozenset({
    "row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value", "fill",
})  # fmt: skip
