
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static char *ngx_http_gcs_invalid_url(ngx_conf_t *cf, ngx_command_t *cmd,
    char *err, char *form);
static void ngx_http_gcs_note_place(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *glcf);
static ngx_int_t ngx_http_gcs_folder(ngx_conf_t *cf, ngx_str_t *name);


char *
ngx_http_gcs_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char                      *err;
    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (glcf->api) {
        return "cannot be used beside \"gcs_api\"";
    }

    if (glcf->passing) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    glcf->passing = 1;
    glcf->name = clcf->name;
    glcf->file = &cf->conf_file->file.name;
    glcf->line = cf->conf_file->line;

    if (!clcf->named
#if (NGX_PCRE)
        && clcf->regex == NULL
#endif
       )
    {
        glcf->location = clcf->name;
    }

    if (ngx_http_script_variables_count(&value[1])) {

        glcf->pass = ngx_http_gcs_compile(cf, &value[1]);

        return glcf->pass ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    err = ngx_gcs_object_parse_url(&value[1], &glcf->target);

    if (err == NULL) {
        err = ngx_gcs_object_check(&glcf->target.name);
    }

    if (err == NULL && ngx_gcs_object_dot_segment(&glcf->target.name)) {
        err = "\".\" or \"..\" segment in the prefix";
    }

    if (err) {
        return ngx_http_gcs_invalid_url(cf, cmd, err, "[/PREFIX]");
    }

    /* nothing is left of the URI in an exact location: PREFIX is the name */

    if (!clcf->exact_match
        && ngx_http_gcs_folder(cf, &glcf->target.name) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_object(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char                      *rv, *err;
    ngx_gcs_object_t           object;
    ngx_http_complex_value_t  *cv;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    ngx_http_gcs_note_place(cf, glcf);

    cv = glcf->object;

    if (cv->lengths) {
        return NGX_CONF_OK;
    }

    err = ngx_gcs_object_parse_url(&cv->value, &object);

    if (err == NULL) {
        err = ngx_gcs_object_check(&object.name);
    }

    if (err == NULL && object.name.len == 0) {
        err = "no object is named";
    }

    return err ? ngx_http_gcs_invalid_url(cf, cmd, err, "/OBJECT")
               : NGX_CONF_OK;
}


/* a long value is cut, so that the reason is not */

static char *
ngx_http_gcs_invalid_url(ngx_conf_t *cf, ngx_command_t *cmd, char *err,
    char *form)
{
    ngx_str_t  *value, shown;

    value = cf->args->elts;
    shown = value[1];
    shown.len = ngx_min(shown.len, 256);

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive: %s; "
                       "it must be \"gs://BUCKET%s\"",
                       &shown, &cmd->name, err, form);

    return NGX_CONF_ERROR;
}


char *
ngx_http_gcs_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_http_gcs_note_place(cf, glcf);

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}


/* where it stands, for what is found out when all has been read */

static void
ngx_http_gcs_note_place(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *glcf)
{
    if (glcf->file == NULL) {
        glcf->file = &cf->conf_file->file.name;
        glcf->line = cf->conf_file->line;
    }
}


char *
ngx_http_gcs_buckets(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    u_char            *p;
    ngx_str_t         *value;
    ngx_uint_t         i;
    ngx_gcs_object_t  *bucket;

    if (glcf->buckets != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->buckets = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                     sizeof(ngx_gcs_object_t));
    if (glcf->buckets == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        bucket = ngx_array_push(glcf->buckets);
        if (bucket == NULL) {
            return NGX_CONF_ERROR;
        }

        bucket->bucket = value[i];
        ngx_str_null(&bucket->name);

        p = ngx_strlchr(value[i].data, value[i].data + value[i].len, '/');

        if (p) {
            bucket->bucket.len = p - value[i].data;
            bucket->name.data = p + 1;
            bucket->name.len = value[i].len - bucket->bucket.len - 1;
        }

        if (ngx_gcs_bucket_check(&bucket->bucket) != NGX_OK
            || ngx_gcs_object_check(&bucket->name) != NULL)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid bucket \"%V\" in \"%V\" directive; "
                               "it must be \"NAME[/PREFIX]\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_gcs_folder(cf, &bucket->name) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_set_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    u_char      ch;
    size_t      i;
    ngx_str_t  *value;

    value = cf->args->elts;

    if (value[1].len <= sizeof("x-goog-") - 1
        || ngx_strncasecmp(value[1].data, (u_char *) "x-goog-",
                           sizeof("x-goog-") - 1)
           != 0)
    {
        goto invalid;
    }

    for (i = 0; i < value[1].len; i++) {
        ch = value[1].data[i];

        if (!(ch == '-' || (ch >= '0' && ch <= '9')
              || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z')))
        {
            goto invalid;
        }
    }

    return ngx_http_gcs_push_header(cf, &glcf->headers);

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid header name \"%V\" in \"%V\" directive; "
                       "only \"x-goog-NAME\" can be set",
                       &value[1], &cmd->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_gcs_push_header(ngx_conf_t *cf, ngx_array_t **list)
{
    ngx_str_t                         *value;
    ngx_http_gcs_header_t             *h;
    ngx_http_compile_complex_value_t   ccv;

    if (*list == NGX_CONF_UNSET_PTR) {
        *list = ngx_array_create(cf->pool, 4, sizeof(ngx_http_gcs_header_t));
        if (*list == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    h = ngx_array_push(*list);
    if (h == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    h->name = value[1];
    h->source = value[2];

    h->lowcase.len = value[1].len;
    h->lowcase.data = ngx_pnalloc(cf->pool, value[1].len);
    if (h->lowcase.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_strlow(h->lowcase.data, value[1].data, value[1].len);

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &h->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gcs_user_project(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->user_project) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->user_project_source = value[1];

    glcf->user_project = ngx_http_gcs_compile(cf, &value[1]);

    return glcf->user_project ? NGX_CONF_OK : NGX_CONF_ERROR;
}


ngx_http_complex_value_t *
ngx_http_gcs_compile(ngx_conf_t *cf, ngx_str_t *text)
{
    ngx_http_complex_value_t          *cv;
    ngx_http_compile_complex_value_t   ccv;

    cv = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (cv == NULL) {
        return NULL;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = cv;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NULL;
    }

    return cv;
}


/* a prefix always names a folder: "p" and "p/" mean the same */

static ngx_int_t
ngx_http_gcs_folder(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char  *p;

    if (name->len == 0 || name->data[name->len - 1] == '/') {
        return NGX_OK;
    }

    p = ngx_pnalloc(cf->pool, name->len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, name->data, name->len);
    p[name->len] = '/';

    name->len++;
    name->data = p;

    return NGX_OK;
}
