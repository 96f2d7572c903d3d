
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


#define NGX_HTTP_GCS_BODY_BUFFER  65536


static ngx_int_t ngx_http_gcs_name_check(ngx_str_t *name);
static ngx_uint_t ngx_http_gcs_name_matches(ngx_str_t *pattern,
    ngx_str_t *name);
static ngx_int_t ngx_http_gcs_note_writes(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_write_predicates(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_write_predicate(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, size_t offset);
static char *ngx_http_gcs_write_field(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_str_t *name);


/*
 * What may be stored with an object.  Not here: access lists, encryption keys,
 * who is billed, sources of copies, which would be used with our identity.
 * (https://cloud.google.com/storage/docs/xml-api/reference-headers)
 */

ngx_str_t  ngx_http_gcs_write_names[] = {
    ngx_string("content-type"),
    ngx_string("content-encoding"),
    ngx_string("content-language"),
    ngx_string("content-disposition"),
    ngx_string("cache-control"),
    ngx_string("x-goog-meta-*"),
    ngx_string("x-goog-custom-time"),
    ngx_string("x-goog-storage-class"),
    ngx_null_string
};


/* of these, so many are passed by default: how the bytes are to be read */

#define NGX_HTTP_GCS_WRITE_DEFAULT  4


ngx_str_t  ngx_http_gcs_pass_names[] = {
    ngx_string("x-goog-generation"),
    ngx_string("x-goog-metageneration"),
    ngx_string("x-goog-hash"),
    ngx_string("x-goog-meta-*"),
    ngx_string("x-goog-custom-time"),
    ngx_string("x-goog-storage-class"),
    ngx_string("x-goog-stored-content-*"),
    ngx_null_string
};


char *
ngx_http_gcs_names(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char *p = conf;

    u_char       *star;
    ngx_str_t    *value, *name, *known;
    ngx_uint_t    i;
    ngx_array_t  **list;

    list = (ngx_array_t **) (p + cmd->offset);

    if (*list != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    *list = ngx_array_create(cf->pool, cf->args->nelts - 1,
                             sizeof(ngx_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        name = ngx_array_push(*list);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        name->len = value[i].len;
        name->data = ngx_pnalloc(cf->pool, value[i].len + 1);
        if (name->data == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_strlow(name->data, value[i].data, value[i].len + 1);

        star = ngx_strlchr(name->data, name->data + name->len, '*');

        for (known = cmd->post; known->len; known++) {

            if (star ? (known->len == name->len
                        && ngx_memcmp(known->data, name->data, name->len) == 0)
                     : ngx_http_gcs_name_matches(known, name))
            {
                break;
            }
        }

        if (known->len == 0 || ngx_http_gcs_name_check(name) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid header name \"%V\" in \"%V\" "
                               "directive", &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_gcs_name_check(ngx_str_t *name)
{
    size_t  i;
    u_char  ch;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '-' || (ch == '*' && i == name->len - 1)))
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_gcs_name_listed(ngx_array_t *list, ngx_str_t *name)
{
    ngx_str_t   *pattern;
    ngx_uint_t   i;

    if (list == NULL) {
        return 0;
    }

    pattern = list->elts;

    for (i = 0; i < list->nelts; i++) {
        if (ngx_http_gcs_name_matches(&pattern[i], name)) {
            return 1;
        }
    }

    return 0;
}


/* a pattern is in lower case, and may end with "*" */

static ngx_uint_t
ngx_http_gcs_name_matches(ngx_str_t *pattern, ngx_str_t *name)
{
    size_t  len;

    len = pattern->len;

    if (pattern->data[len - 1] == '*') {
        len--;

        if (name->len <= len) {
            return 0;
        }

    } else if (name->len != len) {
        return 0;
    }

    return ngx_strncasecmp(pattern->data, name->data, len) == 0;
}


char *
ngx_http_gcs_write_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    ngx_str_t   *name;
    ngx_uint_t   i;

    static ngx_str_t  generation = ngx_string("x-goog-generation");
    static ngx_str_t  metageneration = ngx_string("x-goog-metageneration");

    ngx_conf_merge_ptr_value(conf->pass_headers, prev->pass_headers, NULL);
    ngx_conf_merge_ptr_value(conf->write_headers, prev->write_headers, NULL);

    conf->telling = (conf->methods & NGX_HTTP_GCS_WRITE)
                    || ngx_http_gcs_name_listed(conf->pass_headers,
                                                &generation)
                    || ngx_http_gcs_name_listed(conf->pass_headers,
                                                &metageneration);

    if (!conf->passing || !(conf->methods & NGX_HTTP_GCS_WRITE)) {
        return NGX_CONF_OK;
    }

    if (conf->write_headers == NULL) {
        conf->write_headers = ngx_array_create(cf->pool,
                                               NGX_HTTP_GCS_WRITE_DEFAULT,
                                               sizeof(ngx_str_t));
        if (conf->write_headers == NULL) {
            return NGX_CONF_ERROR;
        }

        name = ngx_array_push_n(conf->write_headers,
                                NGX_HTTP_GCS_WRITE_DEFAULT);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        for (i = 0; i < NGX_HTTP_GCS_WRITE_DEFAULT; i++) {
            name[i] = ngx_http_gcs_write_names[i];
        }
    }

    return ngx_http_gcs_note_writes(cf, conf) == NGX_OK ? NGX_CONF_OK
                                                        : NGX_CONF_ERROR;
}


/* the folders of buckets where the location may write */

static ngx_int_t
ngx_http_gcs_note_writes(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                 i, n;
    ngx_gcs_object_t          *place, *object;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (conf->pass == NULL && conf->api == NULL) {
        object = &conf->target;
        n = 1;

    } else if (conf->buckets) {
        object = conf->buckets->elts;
        n = conf->buckets->nelts;

    } else {
        return NGX_OK;
    }

    for (i = 0; i < n; i++) {
        place = ngx_array_push(&gmcf->written);
        if (place == NULL) {
            return NGX_ERROR;
        }

        *place = object[i];
    }

    return NGX_OK;
}


char *
ngx_http_gcs_write_proxy(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t                 set;
    ngx_http_gcs_loc_conf_t   *level;
    ngx_http_core_loc_conf_t  *clcf;

    if (conf->methods & NGX_HTTP_PUT) {

        /* a body goes to GCS while it arrives, through no file */

        set = 0;

        for (level = conf; level; level = level->parent) {
            set |= level->proxy->request_buffering != NGX_CONF_UNSET;
        }

        if (!set) {
            conf->proxy->request_buffering = 0;
        }

        /* nginx's default, which is small for gigabytes */

        clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

        if (clcf->client_body_buffer_size == 2 * ngx_pagesize) {
            clcf->client_body_buffer_size = NGX_HTTP_GCS_BODY_BUFFER;
        }
    }

    return ngx_http_gcs_write_predicates(cf, conf);
}


static char *
ngx_http_gcs_write_predicates(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char  *rv;

    rv = ngx_http_gcs_write_predicate(cf, conf,
             offsetof(ngx_http_upstream_conf_t, cache_bypass));

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_gcs_write_predicate(cf, conf,
               offsetof(ngx_http_upstream_conf_t, no_cache));
}


/* one more condition beside the user's, here or at an outer level */

static char *
ngx_http_gcs_write_predicate(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    size_t offset)
{
    ngx_array_t               *list, *own;
    ngx_http_complex_value_t  *cv, *value;
    ngx_http_gcs_loc_conf_t   *level;

    static ngx_str_t  conditional = ngx_string("$__gcs_conditional");

    list = NULL;

    for (level = conf; level && list == NULL; level = level->parent) {
        list = *(ngx_array_t **) ((char *) level->proxy + offset);

        if (list == NGX_CONF_UNSET_PTR) {
            list = NULL;
        }
    }

    own = ngx_array_create(cf->pool, 2, sizeof(ngx_http_complex_value_t));
    if (own == NULL) {
        return NGX_CONF_ERROR;
    }

    if (list) {
        value = ngx_array_push_n(own, list->nelts);
        if (value == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memcpy(value, list->elts,
                   list->nelts * sizeof(ngx_http_complex_value_t));
    }

    cv = ngx_http_gcs_compile(cf, &conditional);
    if (cv == NULL) {
        return NGX_CONF_ERROR;
    }

    value = ngx_array_push(own);
    if (value == NULL) {
        return NGX_CONF_ERROR;
    }

    *value = *cv;

    *(ngx_array_t **) ((char *) conf->proxy + offset) = own;

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_write_http2(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char        *rv;
    ngx_str_t   *name;
    ngx_uint_t   i;

    static ngx_str_t  always[] = {
        ngx_string("x-goog-if-generation-match"),
        ngx_string("x-goog-if-metageneration-match"),
        ngx_string("content-md5"),
        ngx_string("x-goog-hash"),
        ngx_null_string
    };

    if (conf->identity && conf->identity->signature) {
        return NGX_CONF_OK;
    }

    for (name = always; name->len; name++) {

        rv = ngx_http_gcs_write_field(cf, conf, name);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (!(conf->methods & NGX_HTTP_PUT)) {
        return NGX_CONF_OK;
    }

    name = conf->write_headers->elts;

    for (i = 0; i < conf->write_headers->nelts; i++) {

        if (name[i].data[name[i].len - 1] == '*') {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_write_headers\" with \"%V\" cannot be used with "
                       "\"proxy_http_version 2\": write each name", &name[i]);
        }

        rv = ngx_http_gcs_write_field(cf, conf, &name[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gcs_write_field(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    ngx_str_t *name)
{
    u_char     *p;
    size_t      i;
    ngx_str_t   value;

    value.len = sizeof("$__gcs_given_") - 1 + name->len;

    value.data = ngx_pnalloc(cf->pool, value.len + 1);
    if (value.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_cpymem(value.data, "$__gcs_given_", sizeof("$__gcs_given_") - 1);

    for (i = 0; i < name->len; i++) {
        *p++ = (name->data[i] == '-') ? '_' : name->data[i];
    }

    *p = '\0';

    return ngx_http_gcs_proxy_call(cf, conf, "proxy_set_header", name, &value);
}
