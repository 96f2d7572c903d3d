
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/err.h>

#include "ngx_gcs_fetch_request.h"


#define NGX_GCS_FETCH_BODY  4096


static ngx_int_t ngx_gcs_fetch_set_body(ngx_gcs_fetch_t *fetch,
    ngx_gcs_request_t *req);
static ngx_int_t ngx_gcs_fetch_set_server(ngx_gcs_fetch_t *fetch,
    ngx_gcs_fetch_conf_t *conf);
static ngx_int_t ngx_gcs_fetch_header(ngx_gcs_fetch_t *fetch, char *header);
static char *ngx_gcs_fetch_string(ngx_gcs_fetch_t *fetch, ngx_str_t *src);
static size_t ngx_gcs_fetch_write(char *buf, size_t size, size_t n,
    void *data);


char *
ngx_gcs_fetch_check_library(void)
{
    CURLcode                 code;
    curl_version_info_data  *info;

    code = curl_global_init(CURL_GLOBAL_ALL);

    ERR_clear_error();

    if (code != CURLE_OK) {
        return "curl_global_init() failed";
    }

    info = curl_version_info(CURLVERSION_NOW);

    if (info->version_num < 0x075700) {
        return "it is older than 7.87.0";
    }

    if (!(info->features & CURL_VERSION_ASYNCHDNS)) {
        return "its name resolver would block the worker process";
    }

    if (!(info->features & CURL_VERSION_SSL)) {
        return "it is built without TLS";
    }

    return NULL;
}


ngx_int_t
ngx_gcs_fetch_set_request(ngx_gcs_fetch_t *fetch, ngx_gcs_request_t *req)
{
    char        *url, *header;
    CURL        *easy;
    ngx_int_t    rc;
    ngx_str_t   *h;
    ngx_uint_t   i;

    easy = fetch->easy;

    url = ngx_gcs_fetch_string(fetch, &req->url);
    if (url == NULL) {
        return NGX_ERROR;
    }

    if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK) {
        return NGX_ERROR;
    }

    if (req->headers) {
        h = req->headers->elts;

        for (i = 0; i < req->headers->nelts; i++) {

            header = ngx_gcs_fetch_string(fetch, &h[i]);
            if (header == NULL) {
                return NGX_ERROR;
            }

            rc = ngx_gcs_fetch_header(fetch, header);

            /* it may hold a token; the list's copy goes with the fetch */

            ngx_explicit_memzero(header, h[i].len);

            if (rc != NGX_OK) {
                return NGX_ERROR;
            }
        }
    }

    if (ngx_gcs_fetch_set_body(fetch, req) != NGX_OK) {
        return NGX_ERROR;
    }

    fetch->limit = req->limit;
    fetch->wanted = req->wanted;

    if (req->fresh
        && curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK)
    {
        return NGX_ERROR;
    }

    if (curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->headers)
        != CURLE_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_gcs_fetch_set_body(ngx_gcs_fetch_t *fetch, ngx_gcs_request_t *req)
{
    char  *method;
    CURL  *easy;

    easy = fetch->easy;

    method = ngx_gcs_fetch_string(fetch, &req->method);
    if (method == NULL) {
        return NGX_ERROR;
    }

    if (ngx_strcmp(method, "GET") == 0) {
        if (curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) != CURLE_OK) {
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (ngx_strcmp(method, "HEAD") == 0) {
        if (curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) != CURLE_OK) {
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    /*
     * The body is a secret: libcurl is given a pointer to a copy that can
     * be wiped, instead of a body to copy.
     */

    fetch->body.data = ngx_pnalloc(fetch->pool, req->body.len + 1);
    if (fetch->body.data == NULL) {
        return NGX_ERROR;
    }

    fetch->body.len = req->body.len;
    *ngx_cpymem(fetch->body.data, req->body.data, req->body.len) = '\0';

    if (curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t) fetch->body.len) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_POSTFIELDS, fetch->body.data)
           != CURLE_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_strcmp(method, "POST") != 0
        && curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK)
    {
        return NGX_ERROR;
    }

    if (fetch->body.len == 0
        && ngx_gcs_fetch_header(fetch, "Content-Type:") != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* never wait for "100 Continue" */

    return ngx_gcs_fetch_header(fetch, "Expect:");
}


static ngx_int_t
ngx_gcs_fetch_header(ngx_gcs_fetch_t *fetch, char *header)
{
    struct curl_slist  *headers;

    headers = curl_slist_append(fetch->headers, header);
    if (headers == NULL) {
        return NGX_ERROR;
    }

    fetch->headers = headers;

    return NGX_OK;
}


/*
 * NULL also if src has a control character: neither a URL nor a header may
 * have one, and in a header it could begin another.
 */

static char *
ngx_gcs_fetch_string(ngx_gcs_fetch_t *fetch, ngx_str_t *src)
{
    u_char  *p;
    size_t   i;

    for (i = 0; i < src->len; i++) {
        if (src->data[i] < 0x20 || src->data[i] == 0x7f) {
            return NULL;
        }
    }

    p = ngx_pnalloc(fetch->pool, src->len + 1);
    if (p == NULL) {
        return NULL;
    }

    *ngx_cpymem(p, src->data, src->len) = '\0';

    return (char *) p;
}


ngx_int_t
ngx_gcs_fetch_set_conf(ngx_gcs_fetch_t *fetch, ngx_gcs_fetch_conf_t *conf,
    ngx_gcs_request_t *req)
{
    char  *proxy;
    CURL  *easy;
    long   timeout;

    easy = fetch->easy;
    timeout = conf->timeout ? (long) conf->timeout : 1;

    if (req->timeout && timeout > (long) req->timeout) {
        timeout = (long) req->timeout;
    }

    proxy = (conf->proxy.len && !req->direct) ? (char *) conf->proxy.data : "";

    /*
     * Without QUICK_EXIT the end of a transfer waits for a name look-up that
     * is still under way, and the whole worker with it.  Proxy and NOPROXY
     * are set so that nothing is taken from the environment.
     */

    if (curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https")
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED)
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_PROXY, proxy) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_NOPROXY, "") != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, timeout)
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_USERAGENT, "ngx_gcs_proxy_module")
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error)
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ngx_gcs_fetch_write)
           != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch) != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch) != CURLE_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_gcs_fetch_set_server(fetch, conf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (conf->trusted_certificate.len == 0) {

        /*
         * The folder beside the system's bundle has the same certificates,
         * but with it libcurl parses all of them for each connection, for
         * some ten milliseconds.
         */

        if (curl_version_info(CURLVERSION_NOW)->cainfo == NULL) {
            return NGX_OK;
        }

        return (curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK)
               ? NGX_OK : NGX_ERROR;
    }

    /* the file alone is to be trusted, not the system's folder beside it */

    if (curl_easy_setopt(easy, CURLOPT_CAINFO, conf->trusted_certificate.data)
        != CURLE_OK
        || curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* where the URL's host really is, and whether it must prove its name */

static ngx_int_t
ngx_gcs_fetch_set_server(ngx_gcs_fetch_t *fetch, ngx_gcs_fetch_conf_t *conf)
{
    u_char     *p;
    CURL       *easy;
    ngx_str_t   text;

    easy = fetch->easy;

    if (conf->insecure
        && (curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L) != CURLE_OK
            || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) != CURLE_OK))
    {
        return NGX_ERROR;
    }

    if (conf->connect.len == 0) {
        return NGX_OK;
    }

    /* "::HOST:PORT": whatever host and port the URL has */

    text.len = conf->connect.len + 2;

    p = ngx_pnalloc(fetch->pool, text.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.data = p;
    ngx_sprintf(p, "::%V%Z", &conf->connect);

    if (ngx_strncmp(conf->connect.data, "unix:", 5) == 0) {
        return (curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH,
                                 text.data + 2 + 5)
                == CURLE_OK)
               ? NGX_OK : NGX_ERROR;
    }

    fetch->connect = curl_slist_append(NULL, (char *) text.data);

    if (fetch->connect == NULL) {
        return NGX_ERROR;
    }

    return (curl_easy_setopt(easy, CURLOPT_CONNECT_TO, fetch->connect)
            == CURLE_OK)
           ? NGX_OK : NGX_ERROR;
}


static size_t
ngx_gcs_fetch_write(char *buf, size_t size, size_t n, void *data)
{
    ngx_gcs_fetch_t  *fetch = data;

    u_char     *p;
    size_t      len;
    ngx_str_t  *body;

    /* size is always 1 */

    body = &fetch->response.body;

    if (fetch->limit && n > fetch->limit - body->len) {
        fetch->enough = 1;
        return 0;
    }

    if (n > NGX_GCS_FETCH_MAX_BODY - body->len) {
        fetch->too_large = 1;
        return 0;
    }

    if (body->len + n > fetch->size) {
        len = ngx_max(fetch->size * 2, NGX_GCS_FETCH_BODY);
        len = ngx_max(len, body->len + n);

        p = ngx_pnalloc(fetch->pool, len);
        if (p == NULL) {
            return 0;
        }

        if (body->len) {
            ngx_memcpy(p, body->data, body->len);
            ngx_explicit_memzero(body->data, body->len);
        }

        body->data = p;
        fetch->size = len;
    }

    ngx_memcpy(body->data + body->len, buf, n);
    body->len += n;

    return n;
}


ngx_int_t
ngx_gcs_fetch_get_headers(ngx_gcs_fetch_t *fetch)
{
    size_t               len;
    ngx_str_t           *value;
    ngx_uint_t           i, n;
    struct curl_header  *h;

    for (n = 0; fetch->wanted && fetch->wanted[n]; n++) { /* void */ }

    if (n == 0) {
        return NGX_OK;
    }

    value = ngx_pcalloc(fetch->pool, n * sizeof(ngx_str_t));
    if (value == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (curl_easy_header(fetch->easy, fetch->wanted[i], 0, CURLH_HEADER,
                             -1, &h)
            != CURLHE_OK)
        {
            continue;
        }

        len = ngx_strlen(h->value);

        value[i].data = ngx_pnalloc(fetch->pool, len);
        if (value[i].data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(value[i].data, h->value, len);
        value[i].len = len;
    }

    fetch->response.headers = value;

    return NGX_OK;
}


void
ngx_gcs_fetch_free(ngx_gcs_fetch_t *fetch)
{
    struct curl_slist  *header;

    curl_easy_cleanup(fetch->easy);

    for (header = fetch->headers; header; header = header->next) {
        ngx_explicit_memzero(header->data, ngx_strlen(header->data));
    }

    curl_slist_free_all(fetch->headers);
    curl_slist_free_all(fetch->connect);

    if (fetch->body.len) {
        ngx_explicit_memzero(fetch->body.data, fetch->body.len);
    }

    if (fetch->response.body.len) {
        ngx_explicit_memzero(fetch->response.body.data,
                             fetch->response.body.len);
    }

    ngx_destroy_pool(fetch->pool);
}
