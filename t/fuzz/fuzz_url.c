
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <curl/curl.h>

#include "ngx_gcs_credentials.h"


static void fuzz_host(ngx_pool_t *pool, ngx_str_t *url, ngx_uint_t allowed);
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
    ngx_uint_t   allowed, secure;
    ngx_pool_t  *pool;
    ngx_str_t    domain = ngx_string("googleapis.com");

    pool = test_pool();
    url = test_bytes(pool, data, size);

    allowed = ngx_gcs_credentials_url_allowed(&url, &domain);
    secure = ngx_gcs_credentials_url_secure(&url);

    fuzz_check(secure || !allowed);

    if (secure) {
        fuzz_host(pool, &url, allowed);
    }

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_host(ngx_pool_t *pool, ngx_str_t *url, ngx_uint_t allowed)
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

    loopback = strcasecmp(host, "localhost") == 0
               || strncmp(host, "127.", 4) == 0
               || strcmp(host, "[::1]") == 0;

    fuzz_check(loopback || strcmp(scheme, "https") == 0);

    if (allowed) {
        fuzz_check(loopback
                   || strcasecmp(host, "googleapis.com") == 0
                   || fuzz_ends(host, ".googleapis.com"));
    }

    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(u);
}


static ngx_uint_t
fuzz_ends(const char *text, const char *end)
{
    return strlen(text) >= strlen(end)
           && strcasecmp(text + strlen(text) - strlen(end), end) == 0;
}
