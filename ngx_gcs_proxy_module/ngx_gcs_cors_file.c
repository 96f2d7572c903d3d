
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>

#include "ngx_gcs_cors.h"


#define NGX_GCS_CORS_ERR  256

/* the longest age that makes sense in seconds: 100 years */
#define NGX_GCS_CORS_AGE  3153600000


typedef struct {
    ngx_pool_t                  *pool;
    ngx_gcs_cors_rule_t         *rule;
    json_t                      *json;     /* the object being read */
    ngx_uint_t                   index;    /* of it */
    ngx_str_t                   *err;
} ngx_gcs_cors_file_t;


typedef ngx_int_t (*ngx_gcs_cors_item_pt)(ngx_gcs_cors_file_t *file,
    ngx_str_t *item, char **reason);


static ngx_int_t ngx_gcs_cors_document(ngx_gcs_cors_file_t *file,
    json_t *json, ngx_array_t *rules);
static ngx_int_t ngx_gcs_cors_rule(ngx_gcs_cors_file_t *file);
static ngx_int_t ngx_gcs_cors_unknown(ngx_gcs_cors_file_t *file);
static ngx_int_t ngx_gcs_cors_list(ngx_gcs_cors_file_t *file, char *name,
    ngx_uint_t required, ngx_gcs_cors_item_pt item);
static ngx_int_t ngx_gcs_cors_item_origin(ngx_gcs_cors_file_t *file,
    ngx_str_t *item, char **reason);
static ngx_int_t ngx_gcs_cors_item_method(ngx_gcs_cors_file_t *file,
    ngx_str_t *item, char **reason);
static ngx_int_t ngx_gcs_cors_item_header(ngx_gcs_cors_file_t *file,
    ngx_str_t *item, char **reason);
static ngx_int_t ngx_gcs_cors_push(ngx_gcs_cors_file_t *file,
    ngx_array_t *list, ngx_str_t *item);
static ngx_int_t ngx_gcs_cors_age(ngx_gcs_cors_file_t *file);
static ngx_int_t ngx_gcs_cors_error(ngx_pool_t *pool, ngx_str_t *err,
    const char *fmt, ...);


ngx_int_t
ngx_gcs_cors_file(ngx_pool_t *pool, ngx_str_t *json, ngx_array_t *rules,
    ngx_str_t *err)
{
    json_t               *root;
    ngx_int_t             rc;
    json_error_t          error;
    ngx_gcs_cors_file_t   file;

    ngx_memzero(&file, sizeof(ngx_gcs_cors_file_t));

    file.pool = pool;
    file.err = err;

    /* jansson's own text quotes the file, which may be quite another one */

    root = json_loadb((char *) json->data, json->len, JSON_REJECT_DUPLICATES,
                      &error);

    if (root == NULL) {

        if (json_error_code(&error) == json_error_out_of_memory) {
            return NGX_ERROR;
        }

        return ngx_gcs_cors_error(pool, err,
                   "it is not valid JSON, see line %d, column %d",
                   error.line, error.column);
    }

    rc = ngx_gcs_cors_document(&file, root, rules);

    json_decref(root);

    return rc;
}


/* "[ ... ]", or "{"cors": [ ... ]}" as the JSON API has it */

static ngx_int_t
ngx_gcs_cors_document(ngx_gcs_cors_file_t *file, json_t *json,
    ngx_array_t *rules)
{
    json_t      *list;
    ngx_int_t    rc;
    ngx_uint_t   i;

    list = json;

    if (json_is_object(json) && json_object_size(json) == 1) {
        list = json_object_get(json, "cors");
    }

    if (!json_is_array(list)) {
        return ngx_gcs_cors_error(file->pool, file->err,
                   "it is not a list of rules, \"[{\"origin\": ...}]\"");
    }

    for (i = 0; i < json_array_size(list); i++) {

        file->json = json_array_get(list, i);
        file->index = i;

        if (!json_is_object(file->json)) {
            return ngx_gcs_cors_error(file->pool, file->err,
                       "\"cors[%ui]\" is not an object", i);
        }

        file->rule = ngx_array_push(rules);
        if (file->rule == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_gcs_cors_rule(file);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_cors_rule(ngx_gcs_cors_file_t *file)
{
    ngx_int_t             rc;
    ngx_gcs_cors_rule_t  *rule;

    rule = file->rule;

    ngx_memzero(rule, sizeof(ngx_gcs_cors_rule_t));

    rule->origins = ngx_array_create(file->pool, 2,
                                     sizeof(ngx_gcs_cors_pattern_t));
    rule->methods = ngx_array_create(file->pool, 2, sizeof(ngx_str_t));
    rule->headers = ngx_array_create(file->pool, 4, sizeof(ngx_str_t));

    if (rule->origins == NULL || rule->methods == NULL
        || rule->headers == NULL)
    {
        return NGX_ERROR;
    }

    /* one list for both directions */

    rule->expose = rule->headers;

    rc = ngx_gcs_cors_unknown(file);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_cors_list(file, "origin", 1, ngx_gcs_cors_item_origin);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_cors_list(file, "method", 1, ngx_gcs_cors_item_method);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_cors_list(file, "responseHeader", 0,
                           ngx_gcs_cors_item_header);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_gcs_cors_age(file);
}


static ngx_int_t
ngx_gcs_cors_unknown(ngx_gcs_cors_file_t *file)
{
    const char  *name;
    json_t      *value;
    ngx_str_t    key;
    ngx_uint_t   known;

    json_object_foreach(file->json, name, value) {

        known = ngx_strcmp(name, "origin") == 0
                || ngx_strcmp(name, "method") == 0
                || ngx_strcmp(name, "responseHeader") == 0
                || ngx_strcmp(name, "maxAgeSeconds") == 0;

        if (known) {
            continue;
        }

        key.data = (u_char *) name;
        key.len = ngx_min(ngx_strlen(name), 64);

        if (!ngx_gcs_cors_token(&key)) {
            return ngx_gcs_cors_error(file->pool, file->err,
                       "\"cors[%ui]\" has an unknown member", file->index);
        }

        return ngx_gcs_cors_error(file->pool, file->err,
                   "\"cors[%ui].%V\" is unknown; a rule has \"origin\", "
                   "\"method\", \"responseHeader\" and \"maxAgeSeconds\"",
                   file->index, &key);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_cors_list(ngx_gcs_cors_file_t *file, char *name, ngx_uint_t required,
    ngx_gcs_cors_item_pt item)
{
    char        *reason;
    json_t      *list, *value;
    ngx_int_t    rc;
    ngx_str_t    text;
    ngx_uint_t   i;

    list = json_object_get(file->json, name);

    if (list == NULL && !required) {
        return NGX_OK;
    }

    if (!json_is_array(list) || (required && json_array_size(list) == 0)) {
        return ngx_gcs_cors_error(file->pool, file->err,
                   "\"cors[%ui].%s\" is %s", file->index, name,
                   list == NULL ? "missing"
                                : json_is_array(list) ? "empty"
                                                      : "not a list");
    }

    for (i = 0; i < json_array_size(list); i++) {

        value = json_array_get(list, i);

        reason = "it is not a string";
        rc = NGX_DECLINED;

        if (json_is_string(value)) {
            text.data = (u_char *) json_string_value(value);
            text.len = json_string_length(value);

            rc = item(file, &text, &reason);
        }

        if (rc == NGX_DECLINED) {
            return ngx_gcs_cors_error(file->pool, file->err,
                       "invalid \"cors[%ui].%s[%ui]\": %s", file->index,
                       name, i, reason);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_cors_item_origin(ngx_gcs_cors_file_t *file, ngx_str_t *item,
    char **reason)
{
    ngx_gcs_cors_origin_t   *buf;
    ngx_gcs_cors_pattern_t  *pattern;

    buf = ngx_palloc(file->pool, sizeof(ngx_gcs_cors_origin_t));
    if (buf == NULL) {
        return NGX_ERROR;
    }

    pattern = ngx_array_push(file->rule->origins);
    if (pattern == NULL) {
        return NGX_ERROR;
    }

    *reason = ngx_gcs_cors_pattern(pattern, item, buf);

    if (*reason == NULL && pattern->kind == NGX_GCS_CORS_LABEL) {
        *reason = "Cloud Storage knows \"*\" only as a whole; use "
                  "\"gcs_cors\"";
    }

    return *reason ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_gcs_cors_item_method(ngx_gcs_cors_file_t *file, ngx_str_t *item,
    char **reason)
{
    if (!ngx_gcs_cors_known_method(item)) {
        *reason = "it must be \"GET\", \"HEAD\", \"PUT\", \"POST\", "
                  "\"DELETE\", \"OPTIONS\", \"PATCH\" or \"*\"";
        return NGX_DECLINED;
    }

    return ngx_gcs_cors_push(file, file->rule->methods, item);
}


static ngx_int_t
ngx_gcs_cors_item_header(ngx_gcs_cors_file_t *file, ngx_str_t *item,
    char **reason)
{
    if (!ngx_gcs_cors_token(item)) {
        *reason = "it is not the name of a header";
        return NGX_DECLINED;
    }

    return ngx_gcs_cors_push(file, file->rule->headers, item);
}


static ngx_int_t
ngx_gcs_cors_push(ngx_gcs_cors_file_t *file, ngx_array_t *list,
    ngx_str_t *item)
{
    ngx_str_t  *value;

    value = ngx_array_push(list);
    if (value == NULL) {
        return NGX_ERROR;
    }

    value->len = item->len;
    value->data = ngx_pstrdup(file->pool, item);

    return value->data ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_gcs_cors_age(ngx_gcs_cors_file_t *file)
{
    json_t      *value;
    json_int_t   age;

    file->rule->max_age = -1;

    value = json_object_get(file->json, "maxAgeSeconds");

    if (value == NULL) {
        return NGX_OK;
    }

    age = json_integer_value(value);

    if (!json_is_integer(value) || age < 0 || age > NGX_GCS_CORS_AGE) {
        return ngx_gcs_cors_error(file->pool, file->err,
                   "\"cors[%ui].maxAgeSeconds\" is not a number of seconds",
                   file->index);
    }

    file->rule->max_age = (time_t) age;

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_cors_error(ngx_pool_t *pool, ngx_str_t *err, const char *fmt, ...)
{
    u_char   *p;
    va_list   args;

    p = ngx_pnalloc(pool, NGX_GCS_CORS_ERR);
    if (p == NULL) {
        return NGX_ERROR;
    }

    err->data = p;

    va_start(args, fmt);
    p = ngx_vslprintf(p, p + NGX_GCS_CORS_ERR, fmt, args);
    va_end(args);

    err->len = p - err->data;

    return NGX_DECLINED;
}
