
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


typedef struct {
    char                  *name;
    char                  *value;
} ngx_http_gcs_asked_t;


static char *ngx_http_gcs_takeover_check(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_takeover_headers(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_uint_t ngx_http_gcs_takeover_asked(ngx_str_t *name);
static ngx_int_t ngx_http_gcs_takeover_find(ngx_conf_t *cf,
    ngx_http_gcs_takeover_conf_t *takeover);
static ngx_int_t ngx_http_gcs_takeover_error(ngx_conf_t *cf,
    ngx_http_gcs_takeover_conf_t *takeover, const char *fmt, ...);


/*
 * What the application is asked with.  Of requests that are not taken over
 * the variables have the client's own value.
 */

static ngx_http_gcs_asked_t  ngx_http_gcs_takeover_headers_in[] = {
    { "Range", "$__gcs_takeover_range" },
    { "If-Range", "$__gcs_takeover_if_range" },
    { "If-Match", "$__gcs_takeover_if_match" },
    { "If-None-Match", "$__gcs_takeover_if_none_match" },
    { "If-Modified-Since", "$__gcs_takeover_if_modified_since" },
    { "If-Unmodified-Since", "$__gcs_takeover_if_unmodified_since" },
    { NULL, NULL }
};


/* "gcs_takeover @NAME [VALUE]" */

char *
ngx_http_gcs_takeover(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                     *value;
    ngx_http_gcs_takeover_conf_t  *takeover;

    if (glcf->takeover) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '@') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive; it must "
                           "be the name of a location, \"@NAME\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    takeover = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_takeover_conf_t));
    if (takeover == NULL) {
        return NGX_CONF_ERROR;
    }

    glcf->takeover = takeover;

    takeover->accel.hash = 1;
    ngx_str_set(&takeover->accel.key, "X-Accel-Redirect");
    takeover->accel.lowcase_key = (u_char *) "x-accel-redirect";
    takeover->accel.value = value[1];

    takeover->file = &cf->conf_file->file.name;
    takeover->line = cf->conf_file->line;

    takeover->cscf = ngx_http_conf_get_module_srv_conf(cf,
                                                       ngx_http_core_module);

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    takeover->value = ngx_http_gcs_compile(cf, &value[2]);

    return takeover->value ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* "gcs_takeover_hosts HOST ..." */

char *
ngx_http_gcs_takeover_hosts(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char                     *err;
    ngx_str_t                *value, text;
    ngx_uint_t                i;
    ngx_gcs_redirect_host_t  *host;

    if (glcf->takeover_hosts != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    glcf->takeover_hosts = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                            sizeof(ngx_gcs_redirect_host_t));
    if (glcf->takeover_hosts == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        host = ngx_array_push(glcf->takeover_hosts);
        if (host == NULL) {
            return NGX_CONF_ERROR;
        }

        /* it is made lower case, and the message shows what was written */

        text.len = value[i].len;
        text.data = ngx_pstrdup(cf->pool, &value[i]);

        if (text.data == NULL) {
            return NGX_CONF_ERROR;
        }

        err = ngx_gcs_redirect_host(&text, host);

        if (err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive: %s; "
                               "it must be \"HOST[:PORT]\", "
                               "\"*.HOST[:PORT]\" or \"HOST[:PORT]=BUCKET\"",
                               &value[i], &cmd->name, err);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* "gcs_takeover_cache zone=NAME:SIZE [valid=TIME] [key=VALUE] | off" */

char *
ngx_http_gcs_takeover_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                    *value, text;
    ngx_uint_t                    i;
    ngx_http_gcs_verdict_conf_t  *verdicts;

    if (glcf->takeover_cache != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    verdicts = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_verdict_conf_t));
    if (verdicts == NULL) {
        return NGX_CONF_ERROR;
    }

    glcf->takeover_cache = verdicts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    verdicts->valid = 5;

    if (ngx_gcs_seal_random(verdicts->secret, NGX_GCS_SEAL_KEY) != NGX_OK) {
        return "finds no randomness for its key";
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0
            && verdicts->cache == NULL)
        {
            verdicts->cache = ngx_http_gcs_zone(cf, cmd, &value[i]);

            if (verdicts->cache == NULL) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "valid=", 6) == 0) {
            text.data = value[i].data + 6;
            text.len = value[i].len - 6;

            verdicts->valid = ngx_parse_time(&text, 1);

            if (verdicts->valid > 0) {
                continue;
            }
        }

        if (ngx_strncmp(value[i].data, "key=", 4) == 0
            && value[i].len > 4 && verdicts->key == NULL)
        {
            text.data = value[i].data + 4;
            text.len = value[i].len - 4;

            verdicts->key = ngx_http_gcs_compile(cf, &text);

            if (verdicts->key == NULL) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        goto invalid;
    }

    if (verdicts->cache) {
        return NGX_CONF_OK;
    }

    i = 1;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive; it must be "
                       "\"zone=NAME:SIZE [valid=TIME] [key=VALUE]\" or "
                       "\"off\"", &value[i], &cmd->name);

    return NGX_CONF_ERROR;
}


char *
ngx_http_gcs_takeover_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    char                           *rv;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_gcs_main_conf_t       *gmcf;
    ngx_http_gcs_takeover_conf_t  **takeover;

    ngx_conf_merge_ptr_value(conf->takeover_hosts, prev->takeover_hosts, NULL);
    ngx_conf_merge_value(conf->takeover_unsigned, prev->takeover_unsigned, 0);
    ngx_conf_merge_ptr_value(conf->takeover_cache, prev->takeover_cache, NULL);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname) {

        /* the hidden location of "if" or "limit_except" */

        conf->takeover = prev->takeover;
        return NGX_CONF_OK;
    }

    if (conf->takeover == NULL) {
        return NGX_CONF_OK;
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);
    gmcf->enabled = 1;

    takeover = ngx_array_push(&gmcf->takeovers);
    if (takeover == NULL) {
        return NGX_CONF_ERROR;
    }

    *takeover = conf->takeover;

    conf->takeover->hosts.hosts = conf->takeover_hosts;
    conf->takeover->http2 = ngx_http_gcs_proxy_http2(conf);
    conf->takeover->any = conf->takeover_unsigned;

    rv = ngx_http_gcs_takeover_check(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_gcs_takeover_headers(cf, conf);
}


static char *
ngx_http_gcs_takeover_check(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char           *rv;
    ngx_str_t       url;
    ngx_array_t     args, *save;
    ngx_command_t  *cmd;

    if (conf->passing) {
        (void) ngx_http_gcs_takeover_error(cf, conf->takeover,
                   "\"gcs_takeover\" cannot be used in a location with "
                   "\"gcs_pass\": it belongs to the application's");
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gcs_proxy_is_set(conf->proxy, "proxy_method",
                                  NGX_HTTP_GCS_UNSET_PTR))
    {
        (void) ngx_http_gcs_takeover_error(cf, conf->takeover,
                   "\"proxy_method\" cannot be used in a location with "
                   "\"gcs_takeover\", which asks by GET for HEAD");
        return NGX_CONF_ERROR;
    }

    if (conf->proxy->cache != NGX_CONF_UNSET && conf->proxy->cache) {
        (void) ngx_http_gcs_takeover_error(cf, conf->takeover,
                   "\"proxy_cache\" cannot be used in a location with "
                   "\"gcs_takeover\": the application decides for each "
                   "client; use it in location \"%V\"",
                   &conf->takeover->accel.value);
        return NGX_CONF_ERROR;
    }

    /* whether there is a "proxy_pass" only that directive itself knows */

    cmd = ngx_http_gcs_proxy_command("proxy_pass");

    url.data = (u_char *) "http://127.0.0.1";
    url.len = sizeof("http://127.0.0.1") - 1;

    if (ngx_array_init(&args, cf->pool, 2, sizeof(ngx_str_t)) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    args.nelts = 2;
    ((ngx_str_t *) args.elts)[0] = cmd->name;
    ((ngx_str_t *) args.elts)[1] = url;

    save = cf->args;
    cf->args = &args;

    rv = cmd->set(cf, cmd, conf->proxy);

    cf->args = save;

    if (rv == NGX_CONF_OK || rv == NGX_CONF_ERROR
        || ngx_strcmp(rv, "is duplicate") != 0)
    {
        (void) ngx_http_gcs_takeover_error(cf, conf->takeover,
                   "\"gcs_takeover\" requires \"proxy_pass\" to the "
                   "application in the same location");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * Adds to the list of "proxy_set_header" that is in effect.  A list of its own
 * would cancel it, "Host" and "X-Forwarded-Proto" with it.
 */

static char *
ngx_http_gcs_takeover_headers(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_str_t                 method;
    ngx_uint_t                i;
    ngx_array_t              *headers, **list, *old;
    ngx_keyval_t             *kv, *header;
    ngx_http_gcs_asked_t     *asked;
    ngx_http_gcs_loc_conf_t  *level;

    old = NULL;

    for (level = conf; level; level = level->parent) {

        if (ngx_http_gcs_proxy_is_set(level->proxy, "proxy_set_header",
                                      NGX_HTTP_GCS_UNSET_PTR))
        {
            list = ngx_http_gcs_proxy_value(level->proxy, "proxy_set_header");
            old = *list;
            break;
        }
    }

    headers = ngx_array_create(cf->pool, 16, sizeof(ngx_keyval_t));
    if (headers == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; old && i < old->nelts; i++) {
        kv = old->elts;

        if (ngx_http_gcs_takeover_asked(&kv[i].key)) {
            continue;
        }

        header = ngx_array_push(headers);
        if (header == NULL) {
            return NGX_CONF_ERROR;
        }

        *header = kv[i];
    }

    for (asked = ngx_http_gcs_takeover_headers_in; asked->name; asked++) {

        header = ngx_array_push(headers);
        if (header == NULL) {
            return NGX_CONF_ERROR;
        }

        header->key.data = (u_char *) asked->name;
        header->key.len = ngx_strlen(asked->name);
        header->value.data = (u_char *) asked->value;
        header->value.len = ngx_strlen(asked->value);
    }

    list = ngx_http_gcs_proxy_value(conf->proxy, "proxy_set_header");
    *list = headers;

    ngx_str_set(&method, "$__gcs_takeover_method");

    return ngx_http_gcs_proxy_call(cf, conf, "proxy_method", &method, NULL);
}


static ngx_uint_t
ngx_http_gcs_takeover_asked(ngx_str_t *name)
{
    ngx_http_gcs_asked_t  *asked;

    for (asked = ngx_http_gcs_takeover_headers_in; asked->name; asked++) {

        if (ngx_strlen(asked->name) == name->len
            && ngx_strncasecmp((u_char *) asked->name, name->data, name->len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_gcs_takeover_init(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                      i;
    ngx_http_gcs_loc_conf_t       **location;
    ngx_http_gcs_takeover_conf_t  **takeover;

    takeover = gmcf->takeovers.elts;

    for (i = 0; i < gmcf->takeovers.nelts; i++) {
        if (ngx_http_gcs_takeover_find(cf, takeover[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    location = gmcf->locations.elts;

    for (i = 0; i < gmcf->locations.nelts; i++) {

        if (location[i]->identity && location[i]->identity->signature
            && !location[i]->taking)
        {
            (void) ngx_http_gcs_conf_error(cf, location[i],
                       "\"gcs_auth signature\" is for locations that "
                       "\"gcs_takeover\" names: no signature comes to "
                       "location \"%V\"", &location[i]->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_takeover_find(ngx_conf_t *cf,
    ngx_http_gcs_takeover_conf_t *takeover)
{
    ngx_str_t                   *name;
    ngx_gcs_credentials_t       *cred;
    ngx_http_gcs_loc_conf_t     *target;
    ngx_http_core_loc_conf_t   **clcfp;

    name = &takeover->accel.value;

    for (clcfp = takeover->cscf->named_locations; clcfp && *clcfp; clcfp++) {

        if ((*clcfp)->name.len == name->len
            && ngx_strncmp((*clcfp)->name.data, name->data, name->len) == 0)
        {
            goto found;
        }
    }

    return ngx_http_gcs_takeover_error(cf, takeover,
               "there is no location \"%V\" for \"gcs_takeover\" in this "
               "server", name);

found:

    target = (*clcfp)->loc_conf[ngx_http_gcs_proxy_module.ctx_index];

    takeover->target = target;
    target->taking = 1;

    if (!target->passing || target->pass == NULL
        || (ngx_strcmp(target->pass->value.data, "$gcs_takeover_url") != 0
            && ngx_strcmp(target->pass->value.data, "${gcs_takeover_url}")
               != 0))
    {
        return ngx_http_gcs_takeover_error(cf, takeover,
                   "location \"%V\" of \"gcs_takeover\" must have "
                   "\"gcs_pass $gcs_takeover_url\"", name);
    }

    if (target->identity == NULL) {
        return NGX_OK;
    }

    if (target->identity->signature && takeover->value) {
        return ngx_http_gcs_takeover_error(cf, takeover,
                   "\"gcs_takeover\" with a value needs an identity, but "
                   "location \"%V\" has \"gcs_auth signature\"", name);
    }

    cred = target->identity->source.cred;

    if (cred && !ngx_gcs_credentials_google(cred)) {
        takeover->hosts.universe = cred->universe_domain;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gcs_takeover_error(ngx_conf_t *cf,
    ngx_http_gcs_takeover_conf_t *takeover, const char *fmt, ...)
{
    va_list    args;
    ngx_str_t  text;
    u_char     buf[NGX_MAX_CONF_ERRSTR];

    va_start(args, fmt);
    text.len = ngx_vslprintf(buf, buf + NGX_MAX_CONF_ERRSTR, fmt, args) - buf;
    va_end(args);

    text.data = buf;

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%V in %V:%ui", &text,
                  takeover->file, takeover->line);

    return NGX_ERROR;
}
