
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_redirect.h"


#define test_hex64                                                            \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define test_v4_but(algorithm, credential, date, life, headers, signature)    \
    "X-Goog-Algorithm=" algorithm "&X-Goog-Credential=" credential            \
    "&X-Goog-Date=" date "&X-Goog-Expires=" life                              \
    "&X-Goog-SignedHeaders=" headers "&X-Goog-Signature=" signature

#define test_v4                                                               \
    test_v4_but("GOOG4-RSA-SHA256",                                           \
                "a%40b%2F20260102%2Fauto%2Fstorage%2Fgoog4_request",          \
                "20260102T030405Z", "900", "host", test_hex64)

#define test_amz                                                              \
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"                                        \
    "&X-Amz-Credential=GOOG1E/20260102/us-east-1/s3/aws4_request"             \
    "&X-Amz-Date=20260102T030405Z&X-Amz-Expires=900"                          \
    "&X-Amz-SignedHeaders=host&X-Amz-Signature=" test_hex64

#define test_v2  "GoogleAccessId=a%40b&Expires=1767323945&Signature=ab%2Bc%3D"

#define test_signed_at  1767323045           /* 20260102T030405Z */

#define test_google  "https://storage.googleapis.com"


typedef struct {
    const char                    *query;
    ngx_int_t                      rc;
    ngx_gcs_redirect_signature_e   signature;
    ngx_uint_t                     other;
} test_query_t;


static test_query_t  queries[] = {
    { "", NGX_OK, NGX_GCS_REDIRECT_UNSIGNED, 0 },
    { "generation=1", NGX_OK, NGX_GCS_REDIRECT_UNSIGNED, 0 },
    { "a=b", NGX_OK, NGX_GCS_REDIRECT_UNSIGNED, 1 },
    { test_v4, NGX_OK, NGX_GCS_REDIRECT_V4, 0 },
    { test_v4 "&", NGX_OK, NGX_GCS_REDIRECT_V4, 0 },
    { "response-content-type=a%2Fb&" test_v4, NGX_OK,
      NGX_GCS_REDIRECT_V4, 0 },
    { test_v4 "&x-id=GetObject", NGX_OK, NGX_GCS_REDIRECT_V4, 1 },
    { test_amz, NGX_OK, NGX_GCS_REDIRECT_AWS4, 0 },
    { test_amz "&x-id=GetObject", NGX_OK, NGX_GCS_REDIRECT_AWS4, 1 },
    { test_v2, NGX_OK, NGX_GCS_REDIRECT_V2, 0 },
    { test_v2 "&userProject=p", NGX_OK, NGX_GCS_REDIRECT_V2, 0 },

    { test_v4 "&" test_v2, NGX_DECLINED, 0, 0 },
    { test_v4 "&" test_amz, NGX_DECLINED, 0, 0 },
    { test_v4 "&" test_v4, NGX_DECLINED, 0, 0 },
    { test_v4 "&Expires=1", NGX_DECLINED, 0, 0 },
    { test_v2 "&X-Goog-Date=20260102T030405Z", NGX_DECLINED, 0, 0 },
    { "X-Goog-Signature=" test_hex64, NGX_DECLINED, 0, 0 },
    { "x-goog-signature=" test_hex64, NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Expires=1", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Signature=b", NGX_DECLINED, 0, 0 },
    { "Expires=1&Signature=b", NGX_DECLINED, 0, 0 },
    { "AWSAccessKeyId=a&Expires=1&Signature=b", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&expires=1&Signature=b", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Expires=x&Signature=b", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Expires=0&Signature=b", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Expires=-1&Signature=b", NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=a&Expires=10000000000&Signature=b",
      NGX_DECLINED, 0, 0 },
    { "GoogleAccessId=&Expires=1&Signature=b", NGX_DECLINED, 0, 0 },
    { "acl", NGX_DECLINED, 0, 0 },
    { "acl=", NGX_DECLINED, 0, 0 },
    { test_v4 "&acl", NGX_DECLINED, 0, 0 },
    { "=a", NGX_DECLINED, 0, 0 },
    { "a=b&&c=d", NGX_DECLINED, 0, 0 },
    { "%67eneration=1", NGX_DECLINED, 0, 0 },
    { "a+b=1", NGX_DECLINED, 0, 0 },
    { "Generation=1", NGX_DECLINED, 0, 0 },
    { "generation=1&generation=1", NGX_DECLINED, 0, 0 },
    { "generation=1x", NGX_DECLINED, 0, 0 },
    { "generation=-1", NGX_DECLINED, 0, 0 },
    { "generation=123456789012345678901234567890", NGX_DECLINED, 0, 0 },
    { "response-content-type=a%0d%0aX:%20y", NGX_DECLINED, 0, 0 },
    { "response-content-disposition=%00", NGX_DECLINED, 0, 0 },
    { "response-content-disposition=a&response-content-disposition=b",
      NGX_DECLINED, 0, 0 },
    { "userProject=%7F", NGX_DECLINED, 0, 0 },

    /* parts that do not fit */

    { test_v4_but("GOOG4-HMAC-SHA256",
                  "GOOG1E/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "604800", "host", test_hex64),
      NGX_OK, NGX_GCS_REDIRECT_V4, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64 "ABCDEF"),
      NGX_OK, NGX_GCS_REDIRECT_V4, 0 },
    { test_v4_but("AWS4-HMAC-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("x", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260103/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102//storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256",
                  "a/20260102/au/to/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/s3/aws4_request",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_requesT",
                  "20260102T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405ZZ", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a", "20260102T030405Z", "1", "host",
                  test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20261302/auto/storage/goog4_request",
                  "20261302T030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T240405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T0304050", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T03040xZ", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102X030405Z", "1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "0", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "604801", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "+1", "host", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host%3Brange", test_hex64),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", "abcd"),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64 "0"),
      NGX_DECLINED, 0, 0 },
    { test_v4_but("GOOG4-RSA-SHA256", "a/20260102/auto/storage/goog4_request",
                  "20260102T030405Z", "1", "host", test_hex64 "0g"),
      NGX_DECLINED, 0, 0 },
    { NULL, 0, 0, 0 }
};


static void test_queries(void);
static void test_parameters(void);


int
main(void)
{
    test_queries();
    test_parameters();

    return test_failures;
}


static void
test_queries(void)
{
    char                     *reason;
    ngx_int_t                 rc;
    ngx_str_t                 url;
    ngx_pool_t               *pool;
    test_query_t             *t;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    for (t = queries; t->query; t++) {
        url.len = sizeof(test_google "/bucket/a?") - 1 + strlen(t->query);
        url.data = ngx_pnalloc(pool, url.len);
        ngx_sprintf(url.data, "%s%s", test_google "/bucket/a?", t->query);

        reason = NULL;
        rc = ngx_gcs_redirect_location(pool, &conf, &url, &redirect, &reason);

        test_check(rc == t->rc, t->query);
        test_check((rc == NGX_DECLINED) == (reason != NULL), t->query);

        if (rc != NGX_OK || t->rc != NGX_OK) {
            continue;
        }

        test_check(redirect.signature == t->signature, t->query);
        test_check(redirect.other == t->other, t->query);
        test_check((redirect.expires > 0) == (t->signature != 0), t->query);
    }

    ngx_destroy_pool(pool);
}


static void
test_parameters(void)
{
    char                     *reason;
    ngx_str_t                 url;
    ngx_pool_t               *pool;
    ngx_gcs_redirect_t        redirect;
    ngx_gcs_redirect_conf_t   conf;

    pool = test_pool();
    ngx_memzero(&conf, sizeof(conf));

    url = test_text(pool, test_google "/bucket/a%20b?"
                    "response-content-disposition=inline%3B+filename%3D"
                    "%22%C3%A9%22&response-content-type=image%2Fsvg%2Bxml&"
                    "generation=1700000000000000&userProject=a.b%3Ac&"
                    test_v4);

    test_check(ngx_gcs_redirect_location(pool, &conf, &url, &redirect,
                                         &reason)
               == NGX_OK, NULL);
    test_check(test_equal(&redirect.disposition,
                          "inline; filename=\"\xc3\xa9\""), NULL);
    test_check(test_equal(&redirect.type, "image/svg+xml"), NULL);
    test_check(test_equal(&redirect.generation, "1700000000000000"), NULL);
    test_check(test_equal(&redirect.user_project, "a.b:c"), NULL);
    test_check(redirect.expires == test_signed_at + 900, NULL);
    test_check(redirect.other == 0, NULL);
    test_check(test_contains(&redirect.target, "/bucket/a%20b?response-"),
               NULL);

    url = test_text(pool, test_google "/bucket/a?" test_v2);
    test_check(ngx_gcs_redirect_location(pool, &conf, &url, &redirect,
                                         &reason)
               == NGX_OK, NULL);
    test_check(redirect.expires == 1767323945, NULL);
    test_check(redirect.disposition.data == NULL && redirect.type.data == NULL
               && redirect.generation.data == NULL
               && redirect.user_project.data == NULL, NULL);

    ngx_destroy_pool(pool);
}
