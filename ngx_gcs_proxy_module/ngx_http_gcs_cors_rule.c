
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the rules that "gcs_cors" makes */


static ngx_gcs_cors_rule_t *ngx_http_gcs_cors_push(ngx_conf_t *cf,
    ngx_http_gcs_cors_conf_t *conf);
static char *ngx_http_gcs_cors_argument(ngx_conf_t *cf,
    ngx_gcs_cors_rule_t *rule, ngx_str_t *arg);
static ngx_int_t ngx_http_gcs_cors_parameter(ngx_conf_t *cf,
    ngx_gcs_cors_rule_t *rule, ngx_str_t *arg);
static ngx_array_t *ngx_http_gcs_cors_split(ngx_conf_t *cf, ngx_str_t *text,
    ngx_uint_t methods);


typedef struct {
    ngx_str_t                name;
    size_t                   offset;
    enum {
        NGX_HTTP_GCS_CORS_METHODS = 0,
        NGX_HTTP_GCS_CORS_NAMES,
        NGX_HTTP_GCS_CORS_TIME,
        NGX_HTTP_GCS_CORS_FLAG
    }                        type;
} ngx_http_gcs_cors_parameter_t;


static ngx_http_gcs_cors_parameter_t  ngx_http_gcs_cors_parameters[] = {

    { ngx_string("methods="), offsetof(ngx_gcs_cors_rule_t, methods),
      NGX_HTTP_GCS_CORS_METHODS },

    { ngx_string("headers="), offsetof(ngx_gcs_cors_rule_t, headers),
      NGX_HTTP_GCS_CORS_NAMES },

    { ngx_string("expose="), offsetof(ngx_gcs_cors_rule_t, expose),
      NGX_HTTP_GCS_CORS_NAMES },

    { ngx_string("max_age="), offsetof(ngx_gcs_cors_rule_t, max_age),
      NGX_HTTP_GCS_CORS_TIME },

    { ngx_string("credentials="), offsetof(ngx_gcs_cors_rule_t, credentials),
      NGX_HTTP_GCS_CORS_FLAG },

    { ngx_string("private_network="),
      offsetof(ngx_gcs_cors_rule_t, private_network),
      NGX_HTTP_GCS_CORS_FLAG },

    { ngx_null_string, 0, 0 }
};


/* "gcs_cors ORIGIN ... [NAME=VALUE ...] | off", as often as there are rules */

char *
ngx_http_gcs_cors(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_cors_conf_t *ccf = conf;

    char                 *rv;
    ngx_str_t            *value;
    ngx_uint_t            i;
    ngx_gcs_cors_rule_t  *rule;

    if (ccf->off) {
        return "is duplicate";
    }

    if (ccf->file) {
        return "cannot be used with \"gcs_cors_file\"";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {

        if (ccf->rules != NGX_CONF_UNSET_PTR) {
            return "is duplicate";
        }

        ccf->rules = NULL;
        ccf->off = 1;

        return NGX_CONF_OK;
    }

    rule = ngx_http_gcs_cors_push(cf, ccf);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        rv = ngx_http_gcs_cors_argument(cf, rule, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (rule->origins->nelts == 0) {
        return "has no origin";
    }

    return NGX_CONF_OK;
}


static ngx_gcs_cors_rule_t *
ngx_http_gcs_cors_push(ngx_conf_t *cf, ngx_http_gcs_cors_conf_t *conf)
{
    ngx_gcs_cors_rule_t  *rule;

    if (conf->rules == NGX_CONF_UNSET_PTR) {

        conf->rules = ngx_array_create(cf->pool, 2,
                                       sizeof(ngx_gcs_cors_rule_t));
        if (conf->rules == NULL) {
            return NULL;
        }
    }

    rule = ngx_array_push(conf->rules);
    if (rule == NULL) {
        return NULL;
    }

    ngx_memzero(rule, sizeof(ngx_gcs_cors_rule_t));

    rule->max_age = -1;
    rule->credentials = NGX_CONF_UNSET_UINT;
    rule->private_network = NGX_CONF_UNSET_UINT;

    rule->origins = ngx_array_create(cf->pool, 4,
                                     sizeof(ngx_gcs_cors_pattern_t));

    return rule->origins ? rule : NULL;
}


static char *
ngx_http_gcs_cors_argument(ngx_conf_t *cf, ngx_gcs_cors_rule_t *rule,
    ngx_str_t *arg)
{
    char                        *err;
    ngx_int_t                    rc;
    ngx_gcs_cors_origin_t       *buf;
    ngx_gcs_cors_pattern_t      *pattern;
    ngx_http_gcs_cors_custom_t  *custom;

    rc = (arg->len && arg->data[0] == '~')
         ? NGX_DECLINED : ngx_http_gcs_cors_parameter(cf, rule, arg);

    if (rc == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_OK) {
        return NGX_CONF_OK;
    }

    pattern = ngx_array_push(rule->origins);
    buf = ngx_palloc(cf->pool, sizeof(ngx_gcs_cors_origin_t));
    custom = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_cors_custom_t));

    if (pattern == NULL || buf == NULL || custom == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(pattern, sizeof(ngx_gcs_cors_pattern_t));

    pattern->kind = NGX_GCS_CORS_CUSTOM;
    pattern->data = custom;

    if (arg->len && arg->data[0] == '~') {
        return ngx_http_gcs_cors_regex(cf, arg, custom);
    }

    if (ngx_http_script_variables_count(arg)) {
        return ngx_http_gcs_cors_variables(cf, arg, custom);
    }

    err = ngx_gcs_cors_pattern(pattern, arg, buf);

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid origin \"%V\" in \"gcs_cors\" directive: "
                           "%s", arg, err);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* NGX_DECLINED: it is none */

static ngx_int_t
ngx_http_gcs_cors_parameter(ngx_conf_t *cf, ngx_gcs_cors_rule_t *rule,
    ngx_str_t *arg)
{
    void                           *field;
    ngx_str_t                       value;
    ngx_http_gcs_cors_parameter_t  *p;

    for (p = ngx_http_gcs_cors_parameters; p->name.len; p++) {
        if (arg->len >= p->name.len
            && ngx_strncmp(arg->data, p->name.data, p->name.len) == 0)
        {
            break;
        }
    }

    if (p->name.len == 0) {
        return NGX_DECLINED;
    }

    value.data = arg->data + p->name.len;
    value.len = arg->len - p->name.len;

    field = (char *) rule + p->offset;

    switch (p->type) {

    case NGX_HTTP_GCS_CORS_METHODS:
    case NGX_HTTP_GCS_CORS_NAMES:

        if (*(ngx_array_t **) field) {
            goto invalid;
        }

        *(ngx_array_t **) field = ngx_http_gcs_cors_split(cf, &value,
                                      p->type == NGX_HTTP_GCS_CORS_METHODS);

        if (*(ngx_array_t **) field == NULL) {
            goto invalid;
        }

        return NGX_OK;

    case NGX_HTTP_GCS_CORS_TIME:

        if (rule->max_age != -1) {
            goto invalid;
        }

        rule->max_age = ngx_parse_time(&value, 1);

        if (rule->max_age == (time_t) NGX_ERROR) {
            goto invalid;
        }

        return NGX_OK;

    default: /* NGX_HTTP_GCS_CORS_FLAG */

        if (*(ngx_uint_t *) field != NGX_CONF_UNSET_UINT) {
            goto invalid;
        }

        if (value.len == 2 && ngx_strncmp(value.data, "on", 2) == 0) {
            *(ngx_uint_t *) field = 1;
            return NGX_OK;
        }

        if (value.len == 3 && ngx_strncmp(value.data, "off", 3) == 0) {
            *(ngx_uint_t *) field = 0;
            return NGX_OK;
        }
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid or duplicate parameter \"%V\" in \"gcs_cors\" "
                       "directive", arg);

    return NGX_ERROR;
}


/* "A,B" or "off"; NULL: a name is not valid, or memory is out */

static ngx_array_t *
ngx_http_gcs_cors_split(ngx_conf_t *cf, ngx_str_t *text, ngx_uint_t methods)
{
    u_char       *p, *last;
    ngx_str_t     name;
    ngx_array_t  *list;

    list = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
    if (list == NULL) {
        return NULL;
    }

    if (!methods && text->len == 3 && ngx_strncmp(text->data, "off", 3) == 0) {
        return list;
    }

    p = text->data;
    last = p + text->len;

    for ( ;; ) {

        name.data = p;

        while (p < last && *p != ',') {
            p++;
        }

        name.len = p - name.data;

        if (ngx_http_gcs_cors_add(list, &name, methods) != NGX_OK) {
            return NULL;
        }

        if (p == last) {
            return list;
        }

        p++;
    }
}


ngx_int_t
ngx_http_gcs_cors_add(ngx_array_t *list, ngx_str_t *name, ngx_uint_t methods)
{
    ngx_str_t  *item;

    if (methods ? !ngx_gcs_cors_known_method(name)
                : !ngx_gcs_cors_token(name))
    {
        return NGX_DECLINED;
    }

    item = ngx_array_push(list);
    if (item == NULL) {
        return NGX_ERROR;
    }

    *item = *name;

    return NGX_OK;
}
