
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <curl/curl.h>

#include "ngx_gcs_redirect.h"


#define FUZZ_ACCEL  "/file_download/"


static void fuzz_hosts(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf);
static void fuzz_redirect(ngx_pool_t *pool, ngx_str_t *url,
    ngx_gcs_redirect_t *redirect);
static void fuzz_value(ngx_str_t *value);
static void fuzz_signature(ngx_pool_t *pool, ngx_gcs_redirect_t *redirect);
static void fuzz_host(const char *host, const char *port,
    ngx_gcs_redirect_t *redirect);
static void fuzz_url(ngx_pool_t *pool, ngx_str_t *url,
    ngx_gcs_redirect_t *redirect);
static void fuzz_name(ngx_pool_t *pool, ngx_str_t *text);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* a URL; one that is taken is one that libcurl, too, takes to that host */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                     *reason;
    u_char                   *p;
    ngx_int_t                 rc;
    ngx_str_t                 url, accel;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect, other;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    url = test_bytes(pool, data, size);
    reason = NULL;

    fuzz_hosts(pool, &conf);
    fuzz_name(pool, &url);

    rc = ngx_gcs_redirect_location(pool, &conf, &url, &redirect, &reason);

    if (rc == NGX_OK) {
        fuzz_redirect(pool, &url, &redirect);

        /* the same in Label Studio's form */

        p = memmem(url.data, url.len, "://", 3);
        fuzz_check(p != NULL);

        accel.data = ngx_pnalloc(pool, sizeof(FUZZ_ACCEL) + url.len);
        accel.len = ngx_sprintf(accel.data, FUZZ_ACCEL "%s/",
                                redirect.https ? "https" : "http")
                    - accel.data;

        memcpy(accel.data + accel.len, p + 3, url.data + url.len - p - 3);
        accel.len += url.data + url.len - p - 3;

        fuzz_check(ngx_gcs_redirect_accel(pool, &conf, &accel, &other,
                                          &reason)
                   == NGX_OK);
        fuzz_check(other.object.name.len == redirect.object.name.len
                   && other.target.len == redirect.target.len
                   && other.signature == redirect.signature
                   && other.style == redirect.style);

    } else {
        fuzz_check(rc == NGX_DECLINED && reason != NULL);
    }

    rc = ngx_gcs_redirect_accel(pool, &conf, &url, &redirect, &reason);

    fuzz_check(rc == NGX_DECLINED
               || (rc == NGX_OK && size > sizeof(FUZZ_ACCEL)));

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_hosts(ngx_pool_t *pool, ngx_gcs_redirect_conf_t *conf)
{
    ngx_str_t                 text;
    ngx_uint_t                i;
    ngx_gcs_redirect_host_t  *host;

    static const char  *list[] = {
        "localhost:4443", "*.x.example", "cdn.example=media"
    };

    ngx_str_null(&conf->universe);
    conf->hosts = ngx_array_create(pool, 3, sizeof(ngx_gcs_redirect_host_t));

    for (i = 0; i < 3; i++) {
        text = test_text(pool, list[i]);
        host = ngx_array_push(conf->hosts);

        fuzz_check(ngx_gcs_redirect_host(&text, host) == NULL);
    }
}


static void
fuzz_redirect(ngx_pool_t *pool, ngx_str_t *url, ngx_gcs_redirect_t *redirect)
{
    size_t      i;
    ngx_str_t  *name;

    name = &redirect->object.name;

    fuzz_check(ngx_gcs_bucket_check(&redirect->object.bucket) == NGX_OK);
    fuzz_check(name->len && ngx_gcs_object_check(name) == NULL);
    fuzz_check(!ngx_gcs_object_dot_segment(name));

    fuzz_check(redirect->target.len && redirect->target.data[0] == '/');
    fuzz_check(redirect->target.data + redirect->target.len
               == url->data + url->len);

    for (i = 0; i < redirect->target.len; i++) {
        fuzz_check(redirect->target.data[i] > ' '
                   && redirect->target.data[i] < 0x7f
                   && redirect->target.data[i] != '#'
                   && redirect->target.data[i] != '\\');
    }

    fuzz_value(&redirect->disposition);
    fuzz_value(&redirect->type);
    fuzz_value(&redirect->generation);
    fuzz_value(&redirect->user_project);

    fuzz_signature(pool, redirect);
    fuzz_url(pool, url, redirect);
}


/* it may become a header */

static void
fuzz_value(ngx_str_t *value)
{
    size_t  i;

    fuzz_check(value->data == NULL || value->len);

    for (i = 0; i < value->len; i++) {
        fuzz_check(value->data[i] >= ' ' && value->data[i] != 0x7f);
    }
}


/* said in another way: of a signature all parts are there, or none */

static void
fuzz_signature(ngx_pool_t *pool, ngx_gcs_redirect_t *redirect)
{
    ngx_str_t            text;
    ngx_uint_t           i, n, signature;
    static const char   *parts[] = {
        "X-Goog-Algorithm=", "X-Goog-Credential=", "X-Goog-Date=",
        "X-Goog-Expires=", "X-Goog-SignedHeaders=", "X-Goog-Signature=",
        "X-Amz-Algorithm=", "X-Amz-Credential=", "X-Amz-Date=",
        "X-Amz-Expires=", "X-Amz-SignedHeaders=", "X-Amz-Signature=",
        "GoogleAccessId=", "Expires=", "Signature="
    };

    /* of the query, every parameter with an "&" before it */

    text = redirect->target;

    while (text.len && *text.data != '?') {
        text.data++;
        text.len--;
    }

    text = test_bytes(pool, text.data, text.len);

    if (text.len) {
        text.data[0] = '&';
    }

    signature = redirect->signature;

    for (i = 0, n = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char  part[64];

        snprintf(part, sizeof(part), "&%s", parts[i]);

        if (memmem(text.data, text.len, part, strlen(part)) == NULL) {
            continue;
        }

        n++;

        fuzz_check(signature == (i < 6 ? NGX_GCS_REDIRECT_V4
                                 : i < 12 ? NGX_GCS_REDIRECT_AWS4
                                          : NGX_GCS_REDIRECT_V2));
    }

    switch (signature) {

    case NGX_GCS_REDIRECT_UNSIGNED:
        fuzz_check(n == 0 && redirect->expires == 0);
        break;

    case NGX_GCS_REDIRECT_V2:
        fuzz_check(n == 3 && redirect->expires > 0);
        break;

    default:
        fuzz_check(n == 6 && redirect->expires > 0);
    }
}


static void
fuzz_url(ngx_pool_t *pool, ngx_str_t *url, ngx_gcs_redirect_t *redirect)
{
    char   *host, *port, *path, *part;
    CURLU  *u;

    u = curl_url();

    fuzz_check(curl_url_set(u, CURLUPART_URL, test_cstr(pool, url),
                            CURLU_PATH_AS_IS)
               == CURLUE_OK);

    fuzz_check(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);
    fuzz_check(curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)
               == CURLUE_OK);
    fuzz_check(curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK);

    fuzz_host(host, port, redirect);

    fuzz_check(strlen(path) <= redirect->target.len
               && memcmp(path, redirect->target.data, strlen(path)) == 0);

    fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_NO_USER);
    fuzz_check(curl_url_get(u, CURLUPART_FRAGMENT, &part, 0)
               == CURLUE_NO_FRAGMENT);

    curl_free(host);
    curl_free(port);
    curl_free(path);

    curl_url_cleanup(u);
}


static void
fuzz_host(const char *host, const char *port, ngx_gcs_redirect_t *redirect)
{
    char        text[512];
    ngx_str_t  *bucket;

    bucket = &redirect->object.bucket;

    if (strcasecmp(host, "localhost") == 0) {
        fuzz_check(strcmp(port, "4443") == 0);
        fuzz_check(redirect->style == NGX_GCS_REDIRECT_PATH);
        return;
    }

    fuzz_check(strcmp(port, redirect->https ? "443" : "80") == 0);

    switch (redirect->style) {

    case NGX_GCS_REDIRECT_PATH:
        fuzz_check(strcasecmp(host, "storage.googleapis.com") == 0);
        break;

    case NGX_GCS_REDIRECT_BOUND:
        fuzz_check(strcasecmp(host, "cdn.example") == 0);
        fuzz_check(test_equal(bucket, "media"));
        break;

    case NGX_GCS_REDIRECT_VIRTUAL:
        snprintf(text, sizeof(text), "%.*s.storage.googleapis.com",
                 (int) bucket->len, bucket->data);

        if (strcasecmp(host, text) == 0) {
            break;
        }

        snprintf(text, sizeof(text), "%.*s.x.example", (int) bucket->len,
                 bucket->data);

        fuzz_check(strcasecmp(host, text) == 0);
    }
}


/* the same text as a host to be configured */

static void
fuzz_name(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_str_t                 copy;
    ngx_gcs_redirect_host_t   host;

    copy = test_bytes(pool, text->data, text->len);

    if (ngx_gcs_redirect_host(&copy, &host) != NULL) {
        return;
    }

    fuzz_check(host.host.len && host.host.len <= text->len);
    fuzz_check(memchr(host.host.data, '/', host.host.len) == NULL);
    fuzz_check(memchr(host.host.data, '@', host.host.len) == NULL);
    fuzz_check((host.bucket.len != 0)
               == (host.style == NGX_GCS_REDIRECT_BOUND));
}
