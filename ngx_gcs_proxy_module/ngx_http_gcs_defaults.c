
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* what the stock proxy does in a location with "gcs_pass" by default */


#define NGX_HTTP_GCS_BUFFER  65536


static char *ngx_http_gcs_proxy_no_body(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static void ngx_http_gcs_proxy_gunzip(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static char *ngx_http_gcs_proxy_default_key(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);
static ngx_uint_t ngx_http_gcs_converts_head(ngx_http_gcs_loc_conf_t *conf);
static size_t ngx_http_gcs_slice_size(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);


/* good values where the user has set none, here or at an outer level */

char *
ngx_http_gcs_proxy_defaults(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_str_t                  arg;
    ngx_uint_t                 version, buffer, temp, ignore;
    ngx_http_upstream_conf_t  *ucf;
    ngx_http_gcs_loc_conf_t   *level;

    ucf = conf->proxy;

    version = 0;
    buffer = 0;
    temp = 0;
    ignore = 0;

    for (level = conf; level; level = level->parent) {
        version |= ngx_http_gcs_proxy_is_set(level->proxy,
                                             "proxy_http_version",
                                             NGX_HTTP_GCS_UNSET_UINT);
        buffer |= level->proxy->buffer_size != NGX_CONF_UNSET_SIZE
                  || level->proxy->bufs.num != 0;
        temp |= level->proxy->max_temp_file_size_conf != NGX_CONF_UNSET_SIZE;

        if (ignore == 0) {
            ignore = level->proxy->ignore_headers;
        }
    }

    if (!version) {
        ngx_str_set(&arg, "1.1");

        if (ngx_http_gcs_proxy_call(cf, conf, "proxy_http_version", &arg, NULL)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (!buffer) {
        ucf->buffer_size = NGX_HTTP_GCS_BUFFER;
        ucf->bufs.num = 8;
        ucf->bufs.size = NGX_HTTP_GCS_BUFFER;
    }

    if (!temp) {
        ucf->max_temp_file_size_conf = 0;
    }

    ucf->pass_request_headers = 0;
    ucf->pass_request_body = (conf->methods & NGX_HTTP_GCS_WRITE) ? 1 : 0;

    /*
     * GCS must not steer nginx, and what it says of cookies and of variants
     * concerns nobody: cookies are dropped, and a gzip-stored object is
     * cached as stored.
     */

    ucf->ignore_headers = ignore
                          |NGX_CONF_BITMASK_SET
                          |NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT
                          |NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES
                          |NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE
                          |NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING
                          |NGX_HTTP_UPSTREAM_IGN_XA_CHARSET
                          |NGX_HTTP_UPSTREAM_IGN_SET_COOKIE
                          |NGX_HTTP_UPSTREAM_IGN_VARY;

    /* the TLS context comes from the endpoint, see below */

    ucf->ssl_verify = 0;
    ucf->ssl_certificate = NULL;
    ucf->ssl_certificate_key = NULL;

    ngx_http_gcs_proxy_gunzip(cf, conf);

    if (ngx_http_gcs_proxy_no_body(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->identity && conf->identity->signature) {

        /* a URL that is signed for GET is good for nothing else */

        ngx_str_set(&arg, "GET");

        if (ngx_http_gcs_proxy_call(cf, conf, "proxy_method", &arg, NULL)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_gcs_write_proxy(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_gcs_proxy_default_key(cf, conf);
}


/*
 * nginx 1.29.4 and later, "proxy_http_version 2"; before the merge the value
 * may still stand at an outer level
 */

ngx_uint_t
ngx_http_gcs_proxy_http2(ngx_http_gcs_loc_conf_t *conf)
{
    ngx_uint_t               *version;
    ngx_http_gcs_loc_conf_t  *level;

    for (level = conf; level; level = level->parent) {

        if (ngx_http_gcs_proxy_is_set(level->proxy, "proxy_http_version",
                                      NGX_HTTP_GCS_UNSET_UINT))
        {
            version = ngx_http_gcs_proxy_value(level->proxy,
                                               "proxy_http_version");

            return *version > NGX_HTTP_VERSION_11;
        }
    }

    return 0;
}


/* an outer proxy_method or proxy_set_body must not be inherited */

static char *
ngx_http_gcs_proxy_no_body(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    void                     **method;
    ngx_str_t                 *body;
    ngx_http_gcs_loc_conf_t   *level;

    method = ngx_http_gcs_proxy_value(conf->proxy, "proxy_method");

    if (method) {
        *method = NULL;
    }

    for (level = conf->parent; level; level = level->parent) {
        body = ngx_http_gcs_proxy_value(level->proxy, "proxy_set_body");

        if (body == NULL || body->len == 0) {
            continue;
        }

        if (conf->methods & NGX_HTTP_GCS_WRITE) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"proxy_set_body\" at an outer level cannot be used "
                       "with \"gcs_methods\" that write: it would replace "
                       "what is written");
        }

        body = ngx_http_gcs_proxy_value(conf->proxy, "proxy_set_body");
        ngx_str_set(body, "");

        break;
    }

    return NGX_CONF_OK;
}


/*
 * A gzip-stored object is cached as stored; nginx decompresses it for a
 * client that does not take gzip, unless the user has decided on "gunzip".
 */

static void
ngx_http_gcs_proxy_gunzip(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    ngx_flag_t                 *gunzip;
    ngx_module_t               *module;
    ngx_http_gcs_loc_conf_t    *level;

    module = ngx_http_gcs_find_module(cf, "ngx_http_gunzip_filter_module");

    if (module == NULL) {
        return;
    }

    for (level = conf; level; level = level->parent) {
        gunzip = ngx_http_gcs_module_value(level, module, "gunzip");

        if (gunzip == NULL || *gunzip != NGX_CONF_UNSET) {
            return;
        }
    }

    gunzip = ngx_http_gcs_module_value(conf, module, "gunzip");
    *gunzip = 1;
}


ngx_module_t *
ngx_http_gcs_find_module(ngx_conf_t *cf, char *name)
{
    ngx_uint_t  i;

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (ngx_strcmp(cf->cycle->modules[i]->name, name) == 0) {
            return cf->cycle->modules[i];
        }
    }

    return NULL;
}


void *
ngx_http_gcs_module_value(ngx_http_gcs_loc_conf_t *level,
    ngx_module_t *module, char *name)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd->name.len; cmd++) {
        if (ngx_strcmp(cmd->name.data, name) == 0) {
            return (char *) level->loc_conf[module->ctx_index] + cmd->offset;
        }
    }

    return NULL;
}


/*
 * The key is the object's name, so that no spelling of a URI, no host and no
 * query string makes a second copy, or a wrong one.  There is no space in an
 * escaped name: whatever comes before it, no two keys collide.  A key of the
 * user's gets the name too: with $uri alone, where slashes are merged, "//x"
 * and "/x" would be one.  Slices are kept as the client takes them: nginx
 * cannot decompress a slice.  After a write the key is another one.
 */

static char *
ngx_http_gcs_proxy_default_key(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    size_t     slice;
    ngx_str_t  key;

    slice = ngx_http_gcs_slice_size(cf, conf);
    conf->sliced = (slice != 0 && conf->api == NULL);

    if (conf->cache_key.data) {

        if (slice
            && ngx_strstr(conf->cache_key.data, "$slice_range") == NULL
            && ngx_strstr(conf->cache_key.data, "${slice_range}") == NULL)
        {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"proxy_cache_key\" \"%V\" must contain "
                       "\"$slice_range\" in a location with \"slice\" and "
                       "\"gcs_pass\", or one slice is served for another",
                       &conf->cache_key);
        }

        key.data = ngx_pnalloc(cf->pool, conf->cache_key.len + 64);
        if (key.data == NULL) {
            return NGX_CONF_ERROR;
        }

        key.len = ngx_sprintf(key.data, "%V %s$__gcs_written gs:/$gcs_uri",
                              &conf->cache_key,
                              slice ? "$__gcs_accept_encoding" : "")
                  - key.data;
        key.data[key.len] = '\0';

    } else {
        key.data = ngx_pnalloc(cf->pool, 128);
        if (key.data == NULL) {
            return NGX_CONF_ERROR;
        }

        key.len = ngx_sprintf(key.data, "%s%s$__gcs_written gs:/$gcs_uri",
                              ngx_http_gcs_converts_head(conf)
                                  ? "" : "$request_method ",
                              slice ? "$slice_range $__gcs_accept_encoding"
                                    : "")
                  - key.data;
        key.data[key.len] = '\0';
    }

    return ngx_http_gcs_proxy_call(cf, conf, "proxy_cache_key", &key, NULL);
}


char *
ngx_http_gcs_proxy_cache_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                         *value;
    ngx_http_complex_value_t           cv;
    ngx_http_compile_complex_value_t   ccv;

    if (glcf->cache_key.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    glcf->cache_key = value[1];

    /* a fault in it is told at its line */

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &cv;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* without "proxy_cache_convert_head" the key must tell HEAD from GET */

static ngx_uint_t
ngx_http_gcs_converts_head(ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_loc_conf_t  *level;

    for (level = conf; level; level = level->parent) {
        if (level->proxy->cache_convert_head != NGX_CONF_UNSET) {
            return level->proxy->cache_convert_head;
        }
    }

    return 1;
}


/* the value of "slice" that is in effect, bytes; its own merge comes later */

static size_t
ngx_http_gcs_slice_size(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf)
{
    size_t                   *size;
    ngx_module_t             *module;
    ngx_http_gcs_loc_conf_t  *level;

    module = ngx_http_gcs_find_module(cf, "ngx_http_slice_filter_module");

    if (module == NULL) {
        return 0;
    }

    for (level = conf; level; level = level->parent) {
        size = ngx_http_gcs_module_value(level, module, "slice");

        if (size && *size != NGX_CONF_UNSET_SIZE) {
            return *size;
        }
    }

    return 0;
}
