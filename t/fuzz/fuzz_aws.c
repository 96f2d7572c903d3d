
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include <curl/curl.h>

#include "ngx_gcs_aws.h"


typedef ngx_int_t (*fuzz_parse_pt)(ngx_pool_t *pool, ngx_str_t *text,
    ngx_gcs_aws_keys_t *keys, char **err);


static void fuzz_answer(ngx_pool_t *pool, ngx_str_t *text,
    fuzz_parse_pt parse);
static void fuzz_region(ngx_str_t *text);
static void fuzz_container(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_token(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_form(ngx_pool_t *pool, ngx_str_t *text);
static void fuzz_encoded(ngx_str_t *text, const char *more);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* whatever comes from outside may be any of these */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = test_pool();
    text = test_bytes(pool, data, size);

    fuzz_answer(pool, &text, ngx_gcs_aws_parse_keys);
    fuzz_answer(pool, &text, ngx_gcs_aws_parse_assumed);
    fuzz_region(&text);
    fuzz_container(pool, &text);
    fuzz_token(pool, &text);
    fuzz_form(pool, &text);

    ngx_destroy_pool(pool);

    return 0;
}


static void
fuzz_answer(ngx_pool_t *pool, ngx_str_t *text, fuzz_parse_pt parse)
{
    char                *err;
    ngx_int_t            rc;
    ngx_gcs_aws_keys_t   keys;

    err = NULL;

    rc = parse(pool, text, &keys, &err);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_OK) {
        fuzz_check(ngx_gcs_aws_check_keys(&keys) == NGX_OK);
        fuzz_check(keys.secret_access_key.len <= text->len);

    } else {
        fuzz_check(err != NULL && strlen(err) > 0 && strlen(err) <= 200);
    }
}


static void
fuzz_region(ngx_str_t *text)
{
    ngx_str_t  region, same;

    if (ngx_gcs_aws_region(text, &region) != NGX_OK) {
        return;
    }

    fuzz_check(region.data == text->data && region.len <= text->len);
    fuzz_check(region.data[region.len - 1] >= '0'
               && region.data[region.len - 1] <= '9');
    fuzz_check(ngx_gcs_aws_region(&region, &same) == NGX_OK
               && same.len == region.len);
}


/* libcurl, which will connect, sees the same host */

static void
fuzz_container(ngx_pool_t *pool, ngx_str_t *text)
{
    char   *host, *part;
    CURLU  *u;

    if (!ngx_gcs_aws_container_url_allowed(text)) {
        return;
    }

    u = curl_url();

    if (curl_url_set(u, CURLUPART_URL, test_cstr(pool, text), 0) == CURLUE_OK)
    {
        fuzz_check(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        fuzz_check(curl_url_get(u, CURLUPART_SCHEME, &part, 0) == CURLUE_OK);

        fuzz_check(strcmp(part, "https") == 0
                   || strcasecmp(host, "localhost") == 0
                   || strncmp(host, "127.", 4) == 0
                   || strcmp(host, "[::1]") == 0
                   || strcmp(host, "169.254.170.2") == 0
                   || strcmp(host, "169.254.170.23") == 0
                   || strcasecmp(host, "[fd00:ec2::23]") == 0);

        curl_free(host);
        curl_free(part);

        fuzz_check(curl_url_get(u, CURLUPART_USER, &part, 0)
                   == CURLUE_NO_USER);
    }

    curl_url_cleanup(u);
}


/* the text as the URL that is signed, and as each other value */

static void
fuzz_token(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_int_t            rc;
    ngx_str_t            good, url, region, token, *fields[5];
    ngx_uint_t           i;
    ngx_gcs_aws_keys_t   keys;

    good = test_text(pool, "a");
    url = test_text(pool, "https://{region}/a?b");

    for (i = 0; i < 6; i++) {
        keys.access_key_id = good;
        keys.secret_access_key = good;
        keys.session_token = good;
        region = good;

        fields[0] = &keys.access_key_id;
        fields[1] = &keys.secret_access_key;
        fields[2] = &keys.session_token;
        fields[3] = &region;
        fields[4] = &good;

        if (i < 5) {
            *fields[i] = *text;
        }

        rc = ngx_gcs_aws_subject_token(pool, &keys, &region,
                                       i == 5 ? text : &url, &good, 0,
                                       &token);

        fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

        if (rc == NGX_OK) {
            fuzz_encoded(&token, "%");
        }

        good = test_text(pool, "a");
    }
}


static void
fuzz_form(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_int_t  rc;
    ngx_str_t  arn, none, body;

    arn = test_text(pool, "arn:a");
    ngx_str_null(&none);

    rc = ngx_gcs_aws_assume_role(pool, &arn, &none, text, &body);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_OK) {
        fuzz_encoded(&body, "%&=");
    }

    (void) ngx_gcs_aws_assume_role(pool, text, text, &arn, &body);
}


static void
fuzz_encoded(ngx_str_t *text, const char *more)
{
    size_t  i;

    for (i = 0; i < text->len; i++) {
        fuzz_check(text->data[i] != '\0');
        fuzz_check(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz0123456789-._~",
                          text->data[i])
                   || strchr(more, text->data[i]));
    }
}
