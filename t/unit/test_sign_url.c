
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <openssl/err.h>

#include "ngx_gcs_escape.h"
#include "ngx_gcs_sign.h"


#define TEST_NOW     1549011600
#define TEST_SECRET  "fakeSecretFakeSecretFakeSecretFakeSecret"
#define TEST_ID                                                               \
    "GOOG1EFAKEACCESSIDFAKEACCESSIDFAKEACCESSIDFAKEACCESSIDFAKEACC"
#define TEST_EMAIL   "a@b.iam.gserviceaccount.com"

#define TEST_ALGORITHM                                                        \
    "X-Goog-Algorithm=GOOG4-RSA-SHA256&"                                      \
    "X-Goog-Credential=a%40b.iam.gserviceaccount.com%2F20190201%2Fauto"       \
    "%2Fstorage%2Fgoog4_request&X-Goog-Date=20190201T090000Z&"                \
    "X-Goog-Expires=10&"

#define TEST_QUERY   TEST_ALGORITHM "X-Goog-SignedHeaders=host"


typedef struct {
    const char  *what;
    const char  *host;
    const char  *signed_host;
    const char  *path;
    const char  *headers[16];    /* names and values by turns */
    const char  *params[16];
    const char  *url;            /* without its query */
    const char  *query;
    const char  *rest;           /* of the canonical request, after it */
} test_case_t;


static void test_cases(void);
static void test_bytes_of_parameters(void);
static void test_vector(void);
static void test_location(void);
static void test_declined(void);
static void test_declined_headers(void);
static void test_declined_params(void);
static void test_limits(void);
static void test_with_key(void);
static void test_hmac_key(void);
static void test_append(void);
static void test_callers_pairs(void);
static void test_no_memory(void);
static void test_no_secret(void);
static ngx_gcs_sign_url_t test_url(ngx_pool_t *pool);
static ngx_array_t *test_pairs(ngx_pool_t *pool, const char **pairs);
static ngx_int_t test_rc(ngx_pool_t *pool, ngx_gcs_sign_url_t *url);
static ngx_uint_t test_ends(ngx_str_t *text, ngx_str_t *canonical);


static test_case_t  cases[] = {

    { "the published request",
      "storage.googleapis.com", "storage.googleapis.com",
      "/test-bucket/test-object", { NULL }, { NULL },
      "https://storage.googleapis.com/test-bucket/test-object", TEST_QUERY,
      "host:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD" },

    { "a bucket",
      "h", "h", "/b", { NULL }, { NULL },
      "https://h/b", TEST_QUERY, "host:h\n\nhost\nUNSIGNED-PAYLOAD" },

    { "a bucket that is the host",
      "b.h", "b.h", "/", { NULL }, { NULL },
      "https://b.h/", TEST_QUERY, "host:b.h\n\nhost\nUNSIGNED-PAYLOAD" },

    { "slashes and dots are of the name",
      "h", "h", "/b//a///b/../.%2F%25/", { NULL }, { NULL },
      "https://h/b//a///b/../.%2F%25/", TEST_QUERY,
      "host:h\n\nhost\nUNSIGNED-PAYLOAD" },

    { "another host is signed than that of the URL",
      "LocalHost:8080", "LocalHost", "/b/o", { NULL }, { NULL },
      "https://localhost:8080/b/o", TEST_QUERY,
      "host:localhost\n\nhost\nUNSIGNED-PAYLOAD" },

    { "an address and a port",
      "[2001:DB8::1]:443", "[2001:db8::1]:443", "/b/o", { NULL }, { NULL },
      "https://[2001:db8::1]:443/b/o", TEST_QUERY,
      "host:[2001:db8::1]:443\n\nhost\nUNSIGNED-PAYLOAD" },

    { "headers are sorted and folded",
      "h", "h", "/b/o",
      { "X-Goog-B", " xyz ,  abc, def  , xyz   ", "foo", "\t1\t\t2\t", "BAR",
        "", NULL },
      { NULL }, "https://h/b/o",
      TEST_ALGORITHM "X-Goog-SignedHeaders=bar%3Bfoo%3Bhost%3Bx-goog-b",
      "bar:\nfoo:1 2\nhost:h\nx-goog-b:xyz , abc, def , xyz\n\n"
      "bar;foo;host;x-goog-b\nUNSIGNED-PAYLOAD" },

    { "fields of one name are joined in their order",
      "h", "h", "/b/o",
      { "x-b", " 2 ", "X-a", "z", "X-B", "1", "x-b", "", NULL },
      { NULL }, "https://h/b/o",
      TEST_ALGORITHM "X-Goog-SignedHeaders=host%3Bx-a%3Bx-b",
      "host:h\nx-a:z\nx-b:2,1,\n\nhost;x-a;x-b\nUNSIGNED-PAYLOAD" },

    { "names are compared as bytes",
      "h", "h", "/b/o",
      { "x_y", "1", "x-y", "2", "x", "3", "x|", "4", "xy", "5", NULL },
      { NULL }, "https://h/b/o",
      TEST_ALGORITHM
      "X-Goog-SignedHeaders=host%3Bx%3Bx-y%3Bx_y%3Bxy%3Bx%7C",
      "host:h\nx:3\nx-y:2\nx_y:1\nxy:5\nx|:4\n\n"
      "host;x;x-y;x_y;xy;x|\nUNSIGNED-PAYLOAD" },

    { "a hash of the body is copied, whatever it is",
      "h", "h", "/b/o",
      { "X-Goog-Content-SHA256", "2cf24dBA", "bar-value", "hello", NULL },
      { NULL }, "https://h/b/o",
      TEST_ALGORITHM
      "X-Goog-SignedHeaders=bar-value%3Bhost%3Bx-goog-content-sha256",
      "bar-value:hello\nhost:h\nx-goog-content-sha256:2cf24dBA\n\n"
      "bar-value;host;x-goog-content-sha256\n2cf24dBA" },

    { "parameters are sorted among Google's",
      "h", "h", "/b/o", { NULL },
      { "prefix", "/foo", "X-Goog-Meta-Foo", "bar", "ACL", "", NULL },
      "https://h/b/o",
      "ACL=&" TEST_ALGORITHM
      "X-Goog-Meta-Foo=bar&X-Goog-SignedHeaders=host&prefix=%2Ffoo",
      "host:h\n\nhost\nUNSIGNED-PAYLOAD" },

    { "by name, then by value, both as they are encoded",
      "h", "h", "/b/o", { NULL },
      { "a-b", "1", "a", "~", "a", "/", "a", "0", "z", "2", "z", "10", NULL },
      "https://h/b/o", TEST_QUERY "&a=%2F&a=0&a=~&a-b=1&z=10&z=2",
      "host:h\n\nhost\nUNSIGNED-PAYLOAD" },

    { "what is encoded",
      "h", "h", "/b/o", { NULL },
      { "souffl\xc3\xa9", "=%-_.~", "x", " +&#\xf0\x9f\x90\x8d", NULL },
      "https://h/b/o",
      TEST_QUERY "&souffl%C3%A9=%3D%25-_.~&x=%20%2B%26%23%F0%9F%90%8D",
      "host:h\n\nhost\nUNSIGNED-PAYLOAD" },

    { NULL, NULL, NULL, NULL, { NULL }, { NULL }, NULL, NULL, NULL }
};


int
main(void)
{
    test_cases();
    test_bytes_of_parameters();
    test_vector();
    test_location();
    test_declined();
    test_declined_headers();
    test_declined_params();
    test_limits();
    test_with_key();
    test_hmac_key();
    test_append();
    test_callers_pairs();
    test_no_memory();
    test_no_secret();

    return test_failures;
}


static void
test_cases(void)
{
    char                 buf[2048];
    ngx_str_t            text, part, canonical;
    ngx_pool_t          *pool;
    test_case_t         *t;
    ngx_gcs_sign_url_t   url;

    for (t = cases; t->what; t++) {
        pool = test_pool();
        url = test_url(pool);

        url.host = test_text(pool, t->host);
        url.signed_host = test_text(pool, t->signed_host);
        url.path = test_text(pool, t->path);
        url.headers = test_pairs(pool, t->headers);
        url.params = test_pairs(pool, t->params);

        test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
                   t->what);

        sprintf(buf, "%s?%s", t->url, t->query);
        test_check(test_equal(&part, buf), t->what);

        sprintf(buf, "GET\n%s\n%s\n%s", t->path, t->query, t->rest);
        canonical = test_text(pool, buf);

        test_check(memcmp(text.data, "GOOG4-RSA-SHA256\n20190201T090000Z\n"
                          "20190201/auto/storage/goog4_request\n", 70) == 0,
                   t->what);
        test_check(test_ends(&text, &canonical), t->what);

        ngx_destroy_pool(pool);
    }
}


/* bytes that are no text at all */

static void
test_bytes_of_parameters(void)
{
    ngx_str_t            text, part;
    ngx_pool_t          *pool;
    ngx_keyval_t        *param;
    ngx_gcs_sign_url_t   url;

    pool = test_pool();
    url = test_url(pool);

    url.params = ngx_array_create(pool, 1, sizeof(ngx_keyval_t));
    param = ngx_array_push(url.params);
    param->key = test_bytes(pool, "x\0\n", 3);
    param->value = test_bytes(pool, "\xff\0\r\n", 4);

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);
    test_check(test_contains(&part, TEST_QUERY "&x%00%0A=%FF%00%0D%0A"), NULL);

    ngx_destroy_pool(pool);
}


/* a made-up key; the values are those of an independent program */

static void
test_vector(void)
{
    ngx_str_t            secret, text, part, result;
    ngx_pool_t          *pool;
    ngx_gcs_sign_key_t   key;
    ngx_gcs_sign_url_t   url;

    pool = test_pool();
    url = test_url(pool);

    url.path = test_text(pool, "/test-bucket/test-object");
    url.account = test_text(pool, TEST_ID);
    url.hmac = 1;
    secret = test_text(pool, TEST_SECRET);
    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);
    test_check(test_equal(&text, "GOOG4-HMAC-SHA256\n20190201T090000Z\n"
                          "20190201/auto/storage/goog4_request\n"
                          "ce59097b08bfb68ed3394f13a7201cf1"
                          "191b34b1d92ea3f8f3c967b893c15dff"), "the text");

    url.hmac = 0;

    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &result)
               == NGX_OK, NULL);
    test_check(test_equal(&result, "https://storage.googleapis.com/test-bucket"
                          "/test-object?X-Goog-Algorithm=GOOG4-HMAC-SHA256&"
                          "X-Goog-Credential=" TEST_ID "%2F20190201%2Fauto"
                          "%2Fstorage%2Fgoog4_request&X-Goog-Date="
                          "20190201T090000Z&X-Goog-Expires=10&"
                          "X-Goog-SignedHeaders=host&X-Goog-Signature="
                          "a6bb5bfd48a9bb4c54d998910fb6bc9d"
                          "3793abe7c6f6d2ac937600a4c57d6a3f"), "the URL");

    ngx_destroy_pool(pool);
}


static void
test_location(void)
{
    ngx_str_t            text, part;
    ngx_pool_t          *pool;
    ngx_gcs_sign_url_t   url;

    pool = test_pool();
    url = test_url(pool);

    /* the last second of a day, and the first of the next */

    url.location = test_text(pool, "us-east1");
    url.now = 1549065599;

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);
    test_check(test_contains(&text, "\n20190201T235959Z\n"
                             "20190201/us-east1/storage/goog4_request\n"),
               "the text");
    test_check(test_contains(&part, "%2F20190201%2Fus-east1%2Fstorage%2F"),
               "the URL");

    url.now++;

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);
    test_check(test_contains(&text, "\n20190202T000000Z\n"
                             "20190202/us-east1/storage/goog4_request\n"),
               "the text");

    ngx_destroy_pool(pool);
}


static void
test_declined(void)
{
    ngx_uint_t            i;
    ngx_pool_t           *pool;
    ngx_gcs_sign_url_t    url, odd;
    static const char    *schemes[] = { "", "h", "httpx", "HTTPS", "ftp",
                                        "http ", "httpss", "file", NULL };
    static const char    *hosts[] = { "", "a b", "a/b", "a?b", "a#b", "u@h",
                                      "a\n", "a\\b", "h%2e", "a,b", "a;b",
                                      "\xc3\xbc.example", "a\x7f", NULL };
    static const char    *paths[] = { "", "b/o", "/b?o", "/b#o", "/b o",
                                      "/b%", "/b%2", "/b%2g", "/b%2f",
                                      "/b%f0", "/b%%20", "/b\n", "/b\\o",
                                      "/b+o", "/b@", "/b\xc3\xa9", "/b:",
                                      "/b,", "/b`", "/b{", "/b!", "/b?20",
                                      NULL };
    static const char    *methods[] = { "", "get", "GET ", "GET\n", "G-T",
                                        "G\xc3\x89T", NULL };
    static const char    *words[] = { "a/b", "a b", "a\n", "\xc3\xa9", "\x7f",
                                      NULL };

    pool = test_pool();
    url = test_url(pool);

    test_check(test_rc(pool, &url) == NGX_OK, NULL);

    for (i = 0; schemes[i]; i++) {
        odd = url;
        odd.scheme = test_text(pool, schemes[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, schemes[i]);
    }

    for (i = 0; hosts[i]; i++) {
        odd = url;
        odd.host = test_text(pool, hosts[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, hosts[i]);

        odd = url;
        odd.signed_host = test_text(pool, hosts[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, hosts[i]);
    }

    for (i = 0; paths[i]; i++) {
        odd = url;
        odd.path = test_text(pool, paths[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, paths[i]);
    }

    for (i = 0; methods[i]; i++) {
        odd = url;
        odd.method = test_text(pool, methods[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, methods[i]);
    }

    for (i = 0; words[i]; i++) {
        odd = url;
        odd.account = test_text(pool, words[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, words[i]);

        odd = url;
        odd.location = test_text(pool, words[i]);
        test_check(test_rc(pool, &odd) == NGX_DECLINED, words[i]);
    }

    odd = url;
    ngx_str_null(&odd.account);
    test_check(test_rc(pool, &odd) == NGX_DECLINED, "no account");

    ngx_destroy_pool(pool);
}


static void
test_declined_headers(void)
{
    ngx_uint_t            i;
    ngx_pool_t           *pool;
    const char           *pairs[] = { "x-a", "1", "", "1", NULL };
    ngx_gcs_sign_url_t    url;
    static const char    *names[] = {
        "", "a b", "a:b", "a\n", "a;b", "a,b", "a\r\nb: c", "\xc3\xa9",
        "Host", "host", "Accept-Encoding", "AUTHORIZATION", "Connection",
        "Expect", "Forwarded", "HTTP2-Settings", "Keep-Alive", "Proxy-",
        "Proxy-Authorization", "proxy-connection", "TE", "Trailer",
        "Traceparent", "tracestate", "Transfer-Encoding", "Upgrade",
        "User-Agent", "Via", "X-Amz-Date", "x-amz-", "X-Forwarded-For",
        "x-forwarded-proto", "X-Cloud-Trace-Context", NULL
    };
    static const char    *good[] = {
        "accept-encodings", "accept", "ho", "hosts", "tea", "t", "proxy",
        "x-amz", "x-amzn", "x-forwarded", "x-goog-date", "content-length",
        "X-Goog-Encryption-Key", "range", "!#$%&'*+-.^_`|~09AZaz", NULL
    };
    static const char    *values[] = { "a\n", "\n", "a\rb", "a\r\n b", "\x7f",
                                       "\x01", "a\v", "\f", "\x1f", NULL };

    pool = test_pool();
    url = test_url(pool);

    for (i = 0; names[i]; i++) {
        pairs[2] = names[i];
        url.headers = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_DECLINED, names[i]);
    }

    for (i = 0; good[i]; i++) {
        pairs[2] = good[i];
        url.headers = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_OK, good[i]);
    }

    for (i = 0; values[i]; i++) {
        pairs[2] = "x-b";
        pairs[3] = values[i];
        url.headers = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_DECLINED, values[i]);
    }

    /* text of other languages, and a tab */

    pairs[3] = "\xc3\xa9\t\xff";
    url.headers = test_pairs(pool, pairs);
    test_check(test_rc(pool, &url) == NGX_OK, "UTF-8");

    /* a payload that may be read in two ways */

    pairs[2] = "x-goog-content-sha256";
    pairs[3] = " 0a";
    url.headers = test_pairs(pool, pairs);
    test_check(test_rc(pool, &url) == NGX_DECLINED, "a blank");

    pairs[3] = "";
    url.headers = test_pairs(pool, pairs);
    test_check(test_rc(pool, &url) == NGX_DECLINED, "nothing");

    pairs[0] = "X-Goog-Content-SHA256";
    pairs[1] = "0a";
    pairs[3] = "0a";
    url.headers = test_pairs(pool, pairs);
    test_check(test_rc(pool, &url) == NGX_DECLINED, "twice");

    ngx_destroy_pool(pool);
}


static void
test_declined_params(void)
{
    ngx_uint_t            i;
    ngx_pool_t           *pool;
    const char           *pairs[] = { "a", "1", "", "1", NULL };
    ngx_gcs_sign_url_t    url;
    static const char    *names[] = {
        "", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date",
        "X-Goog-Expires", "X-Goog-SignedHeaders", "X-Goog-Signature",
        "x-goog-signature", "X-GOOG-DATE", "GoogleAccessId", "Expires",
        "Signature", "AWSAccessKeyId", "X-Amz-Signature", "x-amz-date", NULL
    };
    static const char    *good[] = {
        "X-Goog-", "X-Goog-Dat", "X-Goog-Dates", "X-Goog-Meta-Date", "expire",
        "signatures", "x-goog-user-project", "userProject", "x-amz", " ", NULL
    };
    static const char    *responses[] = {
        "response-content-type", "Response-Content-Disposition", "response-x",
        NULL
    };

    pool = test_pool();
    url = test_url(pool);

    for (i = 0; names[i]; i++) {
        pairs[2] = names[i];
        url.params = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_DECLINED, names[i]);
    }

    for (i = 0; good[i]; i++) {
        pairs[2] = good[i];
        url.params = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_OK, good[i]);
    }

    for (i = 0; responses[i]; i++) {
        pairs[2] = responses[i];
        pairs[3] = "a\r\nSet-Cookie: b";
        url.params = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_DECLINED, responses[i]);

        pairs[3] = "attachment; filename=\"\xc3\xa9\"";
        url.params = test_pairs(pool, pairs);
        test_check(test_rc(pool, &url) == NGX_OK, responses[i]);
    }

    pairs[2] = "response-";
    pairs[3] = "\n";
    url.params = test_pairs(pool, pairs);
    test_check(test_rc(pool, &url) == NGX_OK, "no header is named");

    ngx_destroy_pool(pool);
}


static void
test_limits(void)
{
    ngx_str_t            text, part;
    ngx_uint_t           i;
    ngx_pool_t          *pool;
    ngx_gcs_sign_url_t   url;
    static time_t        bad[] = { 0, -1, 604801, 604800000, -604800, 0x7fffff
                                   * (time_t) 0x100000000 };

    pool = test_pool();
    url = test_url(pool);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        url.expires = bad[i];
        test_check(test_rc(pool, &url) == NGX_DECLINED, "a life");
    }

    url.expires = 1;
    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK
               && test_contains(&part, "&X-Goog-Expires=1&"), "a second");

    url.expires = 604800;
    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK
               && test_contains(&part, "&X-Goog-Expires=604800&"), "a week");

    url.scheme = test_text(pool, "http");
    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK
               && memcmp(part.data, "http://storage.", 15) == 0, "http");

    ngx_destroy_pool(pool);
}


static void
test_with_key(void)
{
    size_t               i;
    EVP_PKEY            *key;
    ngx_str_t            text, part, result;
    ngx_pool_t          *pool;
    EVP_MD_CTX          *md;
    unsigned int         byte;
    u_char               sig[256];
    ngx_gcs_sign_url_t   url;

    pool = test_pool();
    key = test_rsa(2048);
    url = test_url(pool);

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);

    url.hmac = 1;

    test_check(ngx_gcs_sign_url_rsa(pool, test_prepared(pool, key), &url,
                                    &result)
               == NGX_OK, NULL);
    test_check(ERR_peek_error() == 0, NULL);

    test_check(result.len == part.len + 18 + 512
               && memcmp(result.data, part.data, part.len) == 0
               && memcmp(result.data + part.len, "&X-Goog-Signature=", 18)
                  == 0, "the URL");

    for (i = 0; i < 256; i++) {
        sscanf((char *) result.data + result.len - 512 + i * 2, "%2x", &byte);
        sig[i] = (u_char) byte;
    }

    md = EVP_MD_CTX_new();

    test_check(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1
               && EVP_DigestVerify(md, sig, 256, text.data, text.len) == 1,
               "the signature");

    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);
    ngx_destroy_pool(pool);
}


static void
test_hmac_key(void)
{
    ngx_str_t                secret, empty, huge, one, two, text, part, chain;
    ngx_pool_t              *pool;
    ngx_gcs_sign_key_t       key, kept;
    ngx_gcs_sign_url_t       url;
    ngx_gcs_sign_dialect_t   dialect;
    u_char                   digest[NGX_GCS_SHA256_LEN];

    pool = test_pool();
    url = test_url(pool);

    secret = test_text(pool, TEST_SECRET);
    ngx_str_null(&empty);
    huge.len = NGX_GCS_SIGN_SECRET_MAX + 1;
    huge.data = ngx_pcalloc(pool, huge.len);

    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_url_hmac(pool, &empty, &key, &url, &one)
               == NGX_DECLINED, "no secret");
    test_check(ngx_gcs_sign_url_hmac(pool, &huge, &key, &url, &one)
               == NGX_DECLINED, "a huge secret");

    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &one)
               == NGX_OK, NULL);
    test_check(memcmp(key.day, "20190201", 8) == 0, "the day");

    /* "auto" is what nothing is, and the key is kept */

    url.location = test_text(pool, "auto");
    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &two)
               == NGX_OK && two.len == one.len
               && memcmp(one.data, two.data, one.len) == 0, "auto");

    key.key[0] ^= 1;
    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &two)
               == NGX_OK && memcmp(one.data, two.data, one.len) != 0, "kept");
    key.key[0] ^= 1;

    /* another location neither takes the key nor leaves its own */

    kept = key;
    url.location = test_text(pool, "EU");
    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &one)
               == NGX_OK, NULL);
    test_check(memcmp(&key, &kept, sizeof(key)) == 0, "another location");

    ngx_memzero(&key, sizeof(key));
    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &two)
               == NGX_OK && two.len == one.len
               && memcmp(one.data, two.data, one.len) == 0, "EU");

    /* which is the key of that location */

    ngx_str_set(&dialect.prefix, "GOOG4");
    ngx_str_set(&dialect.location, "EU");
    ngx_str_set(&dialect.service, "storage");
    ngx_str_set(&dialect.terminator, "goog4_request");

    chain.len = NGX_GCS_SHA256_LEN;
    chain.data = key.key;
    part.len = NGX_GCS_SHA256_LEN;
    part.data = digest;

    test_check(ngx_gcs_sign_key(&dialect, &secret, url.now, &key) == NGX_OK
               && ngx_gcs_sign_url_text(pool, &url, &text, &two) == NGX_OK
               && ngx_gcs_crypto_hmac(&chain, &text, digest) == NGX_OK
               && ngx_gcs_sign_url_append(pool, &two, &part, &two) == NGX_OK
               && two.len == one.len
               && memcmp(one.data, two.data, one.len) == 0, "EU's key");

    /* another day makes another key */

    ngx_str_null(&url.location);
    key = kept;
    url.now += 86400;
    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &one)
               == NGX_OK && memcmp(key.day, "20190202", 8) == 0
               && memcmp(key.key, kept.key, 32) != 0, "another day");

    ngx_destroy_pool(pool);
}


static void
test_append(void)
{
    ngx_str_t    part, signature, result;
    ngx_pool_t  *pool;

    pool = test_pool();

    part = test_text(pool, "https://h/?a=b");
    signature = test_bytes(pool, "\x00\xff\x1a", 3);

    test_check(ngx_gcs_sign_url_append(pool, &part, &signature, &result)
               == NGX_OK
               && test_equal(&result, "https://h/?a=b&X-Goog-Signature="
                             "00ff1a"), NULL);

    ngx_str_null(&signature);
    test_check(ngx_gcs_sign_url_append(pool, &part, &signature, &result)
               == NGX_DECLINED, "no signature");

    ngx_destroy_pool(pool);
}


/* they may be of the configuration, which every request shares */

static void
test_callers_pairs(void)
{
    ngx_str_t             text, part;
    ngx_uint_t            i;
    ngx_pool_t           *pool;
    ngx_keyval_t         *header, *param;
    ngx_gcs_sign_url_t    url;
    const char           *headers[] = { "Z", " 1 ", "A", "2  ", NULL };
    const char           *params[] = { "z", " ", "A", "/", NULL };

    pool = test_pool();
    url = test_url(pool);
    url.headers = test_pairs(pool, headers);
    url.params = test_pairs(pool, params);

    test_check(ngx_gcs_sign_url_text(pool, &url, &text, &part) == NGX_OK,
               NULL);

    header = url.headers->elts;
    param = url.params->elts;

    test_check(url.headers->nelts == 2 && url.params->nelts == 2, NULL);

    for (i = 0; i < 2; i++) {
        test_check(test_equal(&header[i].key, headers[i * 2])
                   && test_equal(&header[i].value, headers[i * 2 + 1]),
                   headers[i * 2]);
        test_check(test_equal(&param[i].key, params[i * 2])
                   && test_equal(&param[i].value, params[i * 2 + 1]),
                   params[i * 2]);
    }

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    EVP_PKEY             *key;
    ngx_int_t             rc;
    ngx_str_t             secret, result;
    ngx_uint_t            hmac, n;
    ngx_pool_t           *pool, *keep;
    ngx_gcs_sign_key_t    cache;
    ngx_gcs_sign_url_t    url;
    ngx_gcs_key_t        *prepared;
    const char           *pairs[] = { "x-b", "1", "x-a", "2", NULL };

    keep = test_pool();
    key = test_rsa(1024);
    prepared = test_prepared(keep, key);
    url = test_url(keep);
    url.headers = test_pairs(keep, pairs);
    url.params = test_pairs(keep, pairs);
    secret = test_text(keep, TEST_SECRET);

    for (hmac = 0; hmac < 2; hmac++) {

        for (n = 1; /* void */ ; n++) {
            pool = test_pool();
            ngx_memzero(&cache, sizeof(cache));

            shim_allocs = 0;
            shim_fail_at = n;

            rc = hmac ? ngx_gcs_sign_url_hmac(pool, &secret, &cache, &url,
                                              &result)
                      : ngx_gcs_sign_url_rsa(pool, prepared, &url, &result);

            shim_fail_at = 0;

            ngx_destroy_pool(pool);

            if (shim_allocs < n) {
                break;
            }

            test_check(rc == NGX_ERROR, "no memory");
        }

        test_check(rc == NGX_OK && n > 1 && n <= 12, "at most 11 allocations");
    }

    EVP_PKEY_free(key);
    ngx_destroy_pool(keep);
}


/* neither the secret nor a key that is sent in a header is left in memory */

static void
test_no_secret(void)
{
    ngx_str_t             secret, result;
    ngx_pool_t           *pool, *keep;
    ngx_gcs_sign_key_t    key;
    ngx_gcs_sign_url_t    url;
    const char           *pairs[] = { "X-Goog-Encryption-Key",
                                      "c2VjcmV0LWtleQ==", NULL };

    keep = test_pool();
    url = test_url(keep);
    url.headers = test_pairs(keep, pairs);
    secret = test_text(keep, TEST_SECRET);

    pool = test_pool();
    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &result)
               == NGX_OK, NULL);

    shim_left = 0;
    shim_secret = "c2VjcmV0LWtleQ==";
    ngx_destroy_pool(pool);
    test_check(shim_left == 0, "the key of an object");

    pool = test_pool();
    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_url_hmac(pool, &secret, &key, &url, &result)
               == NGX_OK, NULL);

    shim_secret = TEST_SECRET;
    ngx_destroy_pool(pool);
    test_check(shim_left == 0, "the secret");

    shim_secret = NULL;
    ngx_destroy_pool(keep);
}


static ngx_gcs_sign_url_t
test_url(ngx_pool_t *pool)
{
    ngx_gcs_sign_url_t  url;

    ngx_memzero(&url, sizeof(url));

    url.scheme = test_text(pool, "https");
    url.host = test_text(pool, "storage.googleapis.com");
    url.signed_host = url.host;
    url.path = test_text(pool, "/b/o");
    url.method = test_text(pool, "GET");
    url.account = test_text(pool, TEST_EMAIL);
    url.now = TEST_NOW;
    url.expires = 10;

    return url;
}


/* NULL, too, stands for none */

static ngx_array_t *
test_pairs(ngx_pool_t *pool, const char **pairs)
{
    ngx_array_t   *array;
    ngx_keyval_t  *pair;

    if (*pairs == NULL) {
        return NULL;
    }

    array = ngx_array_create(pool, 2, sizeof(ngx_keyval_t));

    for ( /* void */ ; *pairs; pairs += 2) {
        pair = ngx_array_push(array);
        pair->key = test_text(pool, pairs[0]);
        pair->value = test_text(pool, pairs[1]);
    }

    return array;
}


static ngx_int_t
test_rc(ngx_pool_t *pool, ngx_gcs_sign_url_t *url)
{
    ngx_str_t  text, part;

    return ngx_gcs_sign_url_text(pool, url, &text, &part);
}


/* with the hash of the canonical request, and nothing behind it */

static ngx_uint_t
test_ends(ngx_str_t *text, ngx_str_t *canonical)
{
    u_char  digest[NGX_GCS_SHA256_LEN], hex[NGX_GCS_SHA256_LEN * 2];

    if (ngx_gcs_crypto_sha256(canonical, digest) != NGX_OK) {
        return 0;
    }

    ngx_hex_dump(hex, digest, NGX_GCS_SHA256_LEN);

    return text->len == 70 + sizeof(hex)
           && memcmp(text->data + 70, hex, sizeof(hex)) == 0;
}
