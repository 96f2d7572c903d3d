
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


static ngx_int_t ngx_http_gcs_check_argument(ngx_conf_t *cf,
    ngx_http_gcs_check_t *check, ngx_str_t *value);
static ngx_int_t ngx_http_gcs_check_require(ngx_http_gcs_check_t *check,
    ngx_str_t *list);
static ngx_int_t ngx_http_gcs_check_origin(ngx_conf_t *cf,
    ngx_http_gcs_check_t *check, ngx_str_t *origin);
static char *ngx_http_gcs_check_possible(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_int_t ngx_http_gcs_check_endpoint(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_int_t ngx_http_gcs_check_server(ngx_conf_t *cf,
    ngx_http_gcs_check_t *check, ngx_http_gcs_endpoint_t *ep,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_gcs_check_cors_json(ngx_conf_t *cf,
    ngx_http_gcs_check_t *check);
static void ngx_http_gcs_check_free(void *data);


/* "gcs_check URL [public] [require=...] [valid=TIME] [origin=ORIGIN ...]" */

char *
ngx_http_gcs_check(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    char                  *err;
    ngx_str_t             *value;
    ngx_uint_t             i;
    ngx_pool_cleanup_t    *cln;
    ngx_http_gcs_check_t  *check;

    if (glcf->check) {
        return "is duplicate";
    }

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_http_gcs_check_t));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    check = cln->data;

    ngx_memzero(check, sizeof(ngx_http_gcs_check_t));

    cln->handler = ngx_http_gcs_check_free;

    ngx_queue_init(&check->waiters);

    check->conf = glcf;
    check->valid = NGX_CONF_UNSET;

    glcf->check = check;
    glcf->file = &cf->conf_file->file.name;
    glcf->line = cf->conf_file->line;

    value = cf->args->elts;

    err = ngx_http_script_variables_count(&value[1])
          ? "variables are not possible"
          : ngx_gcs_object_parse_url(&value[1], &check->target);

    if (err == NULL) {
        err = ngx_gcs_object_check(&check->target.name);
    }

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive: %s; it "
                           "must be \"gs://BUCKET[/PREFIX]\"",
                           &value[1], &cmd->name, err);
        return NGX_CONF_ERROR;
    }

    check->url = value[1];

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_http_gcs_check_argument(cf, check, &value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"%V\" directive",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    if (check->valid == NGX_CONF_UNSET) {
        check->valid = 5;
    }

    if (check->required == 0) {
        check->required = ngx_gcs_check_bit(NGX_GCS_CHECK_CREDENTIAL)
                          |ngx_gcs_check_bit(NGX_GCS_CHECK_TOKEN)
                          |ngx_gcs_check_bit(NGX_GCS_CHECK_READ);
    }

    return ngx_http_gcs_check_cors_json(cf, check) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_gcs_check_argument(ngx_conf_t *cf, ngx_http_gcs_check_t *check,
    ngx_str_t *value)
{
    ngx_str_t  s;

    if (ngx_strcmp(value->data, "public") == 0 && !check->everyone) {
        check->everyone = 1;
        return NGX_OK;
    }

    if (ngx_strncmp(value->data, "require=", 8) == 0 && !check->required) {
        s.data = value->data + 8;
        s.len = value->len - 8;

        return ngx_http_gcs_check_require(check, &s);
    }

    if (ngx_strncmp(value->data, "valid=", 6) == 0
        && check->valid == NGX_CONF_UNSET)
    {
        s.data = value->data + 6;
        s.len = value->len - 6;

        check->valid = ngx_parse_time(&s, 1);

        /* older than a token nothing is worth being told */

        return (check->valid == (time_t) NGX_ERROR || check->valid > 3600)
               ? NGX_ERROR : NGX_OK;
    }

    if (ngx_strncmp(value->data, "origin=", 7) == 0) {
        s.data = value->data + 7;
        s.len = value->len - 7;

        return ngx_http_gcs_check_origin(cf, check, &s);
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_gcs_check_require(ngx_http_gcs_check_t *check, ngx_str_t *list)
{
    u_char      *p, *q, *last;
    ngx_int_t    step;
    ngx_str_t    name;

    p = list->data;
    last = p + list->len;

    for ( ;; ) {
        q = ngx_strlchr(p, last, ',');

        name.data = p;
        name.len = (q ? q : last) - p;

        step = ngx_gcs_check_find(&name);

        if (step == NGX_ERROR) {
            return NGX_ERROR;
        }

        check->required |= ngx_gcs_check_bit(step);

        if (q == NULL) {
            return NGX_OK;
        }

        p = q + 1;
    }
}


/* as browsers write it; it enters a command, too */

static ngx_int_t
ngx_http_gcs_check_origin(ngx_conf_t *cf, ngx_http_gcs_check_t *check,
    ngx_str_t *origin)
{
    u_char      c;
    size_t      i;
    ngx_str_t  *slot;

    if (origin->len > 8 && ngx_strncmp(origin->data, "https://", 8) == 0) {
        i = 8;

    } else if (origin->len > 7
               && ngx_strncmp(origin->data, "http://", 7) == 0)
    {
        i = 7;

    } else {
        return NGX_ERROR;
    }

    for ( /* void */ ; i < origin->len; i++) {
        c = origin->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
              || c == '.' || c == '-' || c == ':' || c == '[' || c == ']'))
        {
            return NGX_ERROR;
        }
    }

    if (check->origins == NULL) {
        check->origins = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
        if (check->origins == NULL) {
            return NGX_ERROR;
        }
    }

    if (check->origins->nelts == NGX_HTTP_GCS_CHECK_ORIGINS) {
        return NGX_ERROR;
    }

    slot = ngx_array_push(check->origins);
    if (slot == NULL) {
        return NGX_ERROR;
    }

    *slot = *origin;

    return NGX_OK;
}


/* the rules that would let all origins read in ranges */

static ngx_int_t
ngx_http_gcs_check_cors_json(ngx_conf_t *cf, ngx_http_gcs_check_t *check)
{
    u_char      *p;
    size_t       len;
    ngx_str_t   *origin;
    ngx_uint_t   i;

    static u_char  head[] = "[{\"origin\":[";
    static u_char  tail[] =
        "],\"method\":[\"GET\",\"HEAD\"],\"responseHeader\":[\"Content-Type\","
        "\"Content-Range\",\"Accept-Ranges\",\"ETag\",\"Range\"],"
        "\"maxAgeSeconds\":3600}]";

    if (check->origins == NULL) {
        return NGX_OK;
    }

    origin = check->origins->elts;
    len = sizeof(head) - 1 + sizeof(tail) - 1;

    for (i = 0; i < check->origins->nelts; i++) {
        len += origin[i].len + sizeof("\"\",") - 1;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    check->cors.data = p;
    p = ngx_cpymem(p, head, sizeof(head) - 1);

    for (i = 0; i < check->origins->nelts; i++) {
        p = ngx_sprintf(p, "%s\"%V\"", i ? "," : "", &origin[i]);
    }

    p = ngx_cpymem(p, tail, sizeof(tail) - 1);
    check->cors.len = p - check->cors.data;

    return NGX_OK;
}


void
ngx_http_gcs_check_inherit(ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf)
{
    /* the check is that of the location, whatever an "if" in it changes */

    if (clcf->noname && clcf->handler == NULL && prev->check) {
        conf->check = prev->check;
        clcf->handler = ngx_http_gcs_check_handler;
    }

    if (conf->check) {

        /* no request waits for a token there, the check does */

        conf->waiting = 0;
    }
}


char *
ngx_http_gcs_check_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    char                       *rv;
    ngx_http_gcs_check_t      **slot;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_gcs_main_conf_t   *gmcf;

    if (conf->check == NULL || conf->check->conf != conf) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->passing || conf->status_page || conf->takeover
        || clcf->handler)
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_check\" cannot be used in a location with "
                   "\"gcs_pass\" or another content handler");
    }

    clcf->handler = ngx_http_gcs_check_handler;

    rv = ngx_http_gcs_check_possible(cf, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    /* IAM signs only where that is wanted: it would need another token */

    if (ngx_http_gcs_signs(conf->identity) == NGX_HTTP_GCS_SIGNS_HERE
        || (conf->check->required & ngx_gcs_check_bit(NGX_GCS_CHECK_SIGN)))
    {
        conf->identity->presigns = 1;
    }

    if (conf->allowed & NGX_HTTP_GCS_WRITE) {
        conf->identity->writes = 1;
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    slot = ngx_array_push(&gmcf->checks);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = conf->check;

    return ngx_http_gcs_check_endpoint(cf, conf) == NGX_OK ? NGX_CONF_OK
                                                           : NGX_CONF_ERROR;
}


/* one result for all who ask: it does not depend on the request */

static char *
ngx_http_gcs_check_possible(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t  required;

    if (conf->identity == NULL
        || (conf->user_project && conf->user_project->lengths))
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_auth\" and \"gcs_user_project\" cannot have "
                   "variables in a location with \"gcs_check\"");
    }

    if (conf->identity->signature) {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_auth signature\" cannot be used with "
                   "\"gcs_check\": it is nobody's in particular");
    }

    required = conf->check->required;

    if ((required & ngx_gcs_check_bit(NGX_GCS_CHECK_SIGN))
        && ngx_http_gcs_signs(conf->identity) == NGX_HTTP_GCS_SIGNS_NOT)
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_check\" requires \"sign\", but gcs credentials "
                   "\"%V\" cannot sign URLs", &conf->identity->name);
    }

    if ((required & ngx_gcs_check_bit(NGX_GCS_CHECK_WRITE))
        && !(conf->allowed & NGX_HTTP_GCS_WRITE))
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_check\" requires \"write\", but \"gcs_methods\" "
                   "has neither \"PUT\" nor \"DELETE\"");
    }

    if ((required & ngx_gcs_check_bit(NGX_GCS_CHECK_CORS))
        && conf->check->origins == NULL)
    {
        return ngx_http_gcs_conf_error(cf, conf,
                   "\"gcs_check\" requires \"cors\", but has no "
                   "\"origin=\"");
    }

    return NGX_CONF_OK;
}


/* where and how it is asked: as "gcs_pass" would, without the stock proxy */

static ngx_int_t
ngx_http_gcs_check_endpoint(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    u_char                        *p;
    size_t                         n;
    in_port_t                      port;
    ngx_http_gcs_check_t          *check;
    ngx_http_gcs_address_t        *address;
    ngx_http_gcs_endpoint_t       *ep;
    ngx_http_upstream_srv_conf_t  *us;

    check = conf->check;

    ep = ngx_http_gcs_endpoint_get(cf, conf);
    if (ep == NULL) {
        return NGX_ERROR;
    }

    conf->endpoint = ep;
    address = &ep->address;

    us = ngx_http_gcs_upstream_find(cf, ep);

    port = address->port ? address->port : (address->tls ? 443 : 80);

    p = ngx_pnalloc(cf->pool, sizeof("https://:65535") - 1
                              + address->sni.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    check->base.data = p;
    check->base.len = ngx_sprintf(p, "%s://%V:%ui",
                                  address->tls ? "https" : "http",
                                  &address->sni, (ngx_uint_t) port)
                      - p;

    p = ngx_pnalloc(cf->pool, sizeof("https://") - 1 + address->host.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    check->endpoint.data = p;
    check->endpoint.len = ngx_sprintf(p, "%s://%V",
                                      address->tls ? "https" : "http",
                                      &address->host)
                          - p;

    for (n = 0; n < check->base.len; n++) {
        if (check->base.data[check->base.len - 1 - n] == ':') {
            break;
        }
    }

    check->port.data = check->base.data + check->base.len - n;
    check->port.len = n;

    check->host = address->host;
    check->fetch.timeout = NGX_HTTP_GCS_CHECK_STEP;
    check->fetch.insecure = !conf->ssl_verify;

    if (ep->verify) {
        check->fetch.trusted_certificate = ep->ca;
    }

    if (us) {
        return ngx_http_gcs_check_server(cf, check, ep, us);
    }

    p = ngx_pnalloc(cf->pool, address->name.len + sizeof(":65535") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    check->fetch.connect.data = p;
    check->fetch.connect.len = ngx_sprintf(p, "%V:%ui", &address->name,
                                           (ngx_uint_t) port)
                               - p;
    return NGX_OK;
}


/* the first server of the user's own upstream; its name, if it is followed */

static ngx_int_t
ngx_http_gcs_check_server(ngx_conf_t *cf, ngx_http_gcs_check_t *check,
    ngx_http_gcs_endpoint_t *ep, ngx_http_upstream_srv_conf_t *us)
{
    u_char                      *p;
    ngx_str_t                   *connect;
    ngx_http_upstream_server_t  *server;

    connect = &check->fetch.connect;

    if (us->servers == NULL || us->servers->nelts == 0) {
        return NGX_OK;
    }

    server = us->servers->elts;

    if (server->naddrs) {
        *connect = server->addrs[0].name;
        return NGX_OK;
    }

    *connect = server->name;

    if (ngx_strlchr(connect->data, connect->data + connect->len, ':')) {
        return NGX_OK;
    }

    p = ngx_pnalloc(cf->pool, server->name.len + sizeof(":443") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    connect->data = p;
    connect->len = ngx_sprintf(p, "%V:%s", &server->name,
                               ep->address.tls ? "443" : "80")
                   - p;
    return NGX_OK;
}


/* in a single process a configuration may go before the process does */

static void
ngx_http_gcs_check_free(void *data)
{
    ngx_http_gcs_check_t *check = data;

    if (check->running) {
        ngx_http_gcs_check_destroy(check->running);
        check->running = NULL;
    }

    if (check->done) {
        ngx_http_gcs_check_destroy(check->done);
        check->done = NULL;
    }
}


void
ngx_http_gcs_check_exit_process(ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t              i;
    ngx_http_gcs_check_t  **check;

    check = gmcf->checks.elts;

    for (i = 0; i < gmcf->checks.nelts; i++) {
        ngx_http_gcs_check_free(check[i]);
    }
}
