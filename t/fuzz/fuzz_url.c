
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <curl/curl.h>

#include "ngx_gcs_credentials.h"


static void fuzz_host(ngx_pool_t *pool, ngx_str_t *url, ngx_uint_t allowed,
    ngx_uint_t local);
static void fuzz_name(ngx_pool_t *pool, ngx_str_t *name);
static ngx_uint_t fuzz_loopback(const char *host);
static ngx_uint_t fuzz_local(const char *host);
static ngx_uint_t fuzz_ends(const char *text, const char *end);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* where we see an allowed host, libcurl, which will connect, sees it too */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t    url;
    ngx_uint_t   allowed, secure, local;
    ngx_pool_t  *pool;
    ngx_str_t    domain = ngx_string("googleapis.com");

    pool = test_pool();
    url = test_bytes(pool, data, size);

    allowed = ngx_gcs_credentials_url_allowed(&url, &domain);
    secure = ngx_gcs_credentials_url_secure(&url);

    local = ngx_gcs_credentials_url_local(&url);

    fuzz_check(secure || !allowed);

    if (secure || local) {
        fuzz_host(pool, &url, allowed, local);
    }

    fuzz_name(pool, &url);

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_host(ngx_pool_t *pool, ngx_str_t *url, ngx_uint_t allowed,
    ngx_uint_t local)
{
    char        *text, *host, *scheme, *part;
    CURLU       *u;
    ngx_uint_t   loopback;

    text = test_cstr(pool, url);

    u = curl_url();

    if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK) {
        /* what libcurl refuses is sent nowhere */
        curl_url_cleanup(u);
        return;
    }

    fuzz_check(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);
    fuzz_check(curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK);

    fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_NO_USER);
    fuzz_check(curl_url_get(u, CURLUPART_PASSWORD, &part, 0)
               == CURLUE_NO_PASSWORD);
    fuzz_check(curl_url_get(u, CURLUPART_FRAGMENT, &part, 0)
               == CURLUE_NO_FRAGMENT);

    loopback = fuzz_loopback(host);

    fuzz_check(loopback || local || strcmp(scheme, "https") == 0);
    fuzz_check(!local || fuzz_local(host));

    if (allowed) {
        fuzz_check(loopback
                   || strcasecmp(host, "googleapis.com") == 0
                   || fuzz_ends(host, ".googleapis.com"));
    }

    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(u);
}


/* "HOST[:PORT]" that becomes "http://HOST[:PORT]/PATH" */

static void
fuzz_name(ngx_pool_t *pool, ngx_str_t *name)
{
    char   *url, *host, *path, *part;
    CURLU  *u;

    if (!ngx_gcs_credentials_metadata_host(name)) {
        return;
    }

    if (asprintf(&url, "http://%s/a", test_cstr(pool, name)) == -1) {
        abort();
    }

    u = curl_url();

    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
        fuzz_check(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        fuzz_check(curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK);

        fuzz_check(fuzz_local(host)
                   || strcasecmp(host, "metadata.google.internal") == 0
                   || strcasecmp(host, "metadata.google.internal.") == 0);
        fuzz_check(strcmp(path, "/a") == 0);
        fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0)
                   == CURLUE_NO_USER);

        curl_free(host);
        curl_free(path);
    }

    curl_url_cleanup(u);
    free(url);
}


static ngx_uint_t
fuzz_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0
           || strncmp(host, "127.", 4) == 0
           || strcmp(host, "[::1]") == 0;
}


static ngx_uint_t
fuzz_local(const char *host)
{
    return fuzz_loopback(host)
           || strcmp(host, "169.254.169.254") == 0
           || strcmp(host, "169.254.170.2") == 0
           || strcmp(host, "169.254.170.23") == 0
           || strcasecmp(host, "[fd20:ce::254]") == 0
           || strcasecmp(host, "[fd00:ec2::254]") == 0
           || strcasecmp(host, "[fd00:ec2::23]") == 0;
}


static ngx_uint_t
fuzz_ends(const char *text, const char *end)
{
    return strlen(text) >= strlen(end)
           && strcasecmp(text + strlen(text) - strlen(end), end) == 0;
}
