
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include <openssl/err.h>

#include "ngx_gcs_sign.h"


#define TEST_SECRET  "fakeSecretFakeSecretFakeSecretFakeSecret"
#define TEST_ID                                                               \
    "GOOG1EFAKEACCESSIDFAKEACCESSIDFAKEACCESSIDFAKEACCESSIDFAKEACC"


typedef struct {
    time_t       now;
    const char  *text;
} test_date_t;


typedef struct {
    const char  *fields[8];    /* names and values by turns */
    const char  *lines;        /* of the canonical request */
    const char  *names;
} test_headers_t;


static void test_hmac(void);
static void test_dates(void);
static void test_headers(void);
static void test_declined(void);
static void test_query(void);
static void test_query_vector(void);
static void test_header_vector(void);
static void test_key(void);
static void test_no_memory(void);
static ngx_gcs_sign_request_t test_request(ngx_pool_t *pool,
    const char **fields);
static void test_sha256_hex(ngx_str_t *text, const char *want);


static test_date_t  dates[] = {
    { 0, "19700101T000000Z" },
    { 1, "19700101T000001Z" },
    { 951782399, "20000228T235959Z" },
    { 951782400, "20000229T000000Z" },
    { 1767323045, "20260102T030405Z" },
    { 1798761599, "20261231T235959Z" },
    { 4102444800, "21000101T000000Z" },
    { -1, "19700101T000000Z" },
    { 0, NULL }
};


static test_headers_t  headers[] = {
    { { "host", "a", NULL }, "host:a\n", "host" },

    { { "x-goog-date", "1", "host", "a", NULL },
      "host:a\nx-goog-date:1\n", "host;x-goog-date" },

    { { "host", "a", "x-foo", " xyz ,  abc, def  , xyz   ", NULL },
      "host:a\nx-foo:xyz , abc, def , xyz\n", "host;x-foo" },

    { { "x-foo", "\t 1 \r\n\t 2\v\f3 ", NULL },
      "x-foo:1 2 3\n", "x-foo" },

    { { "x-b", "2", "x-a", "z", "x-b", " 1", NULL },
      "x-a:z\nx-b:2,1\n", "x-a;x-b" },

    { { "x-b", "", "x-b", "  ", "x-b", "3", NULL },
      "x-b:,,3\n", "x-b" },

    { { "ab", "1", "a", "2", "a-b", "3", NULL },
      "a:2\na-b:3\nab:1\n", "a;a-b;ab" },

    { { "x-empty", "", NULL }, "x-empty:\n", "x-empty" },

    { { "x-utf8", "\xc3\xa9", NULL }, "x-utf8:\xc3\xa9\n", "x-utf8" },

    { { NULL }, "", "" },

    { { NULL }, NULL, NULL }
};


int
main(void)
{
    test_hmac();
    test_dates();
    test_headers();
    test_declined();
    test_query();
    test_query_vector();
    test_header_vector();
    test_key();
    test_no_memory();

    return test_failures;
}


static void
test_hmac(void)
{
    u_char              digest[NGX_GCS_SHA256_LEN];
    ngx_str_t           key, text;
    ngx_pool_t         *pool;
    static const char   want[] =
        "\x5b\xdc\xc1\x46\xbf\x60\x75\x4e\x6a\x04\x24\x26\x08\x95\x75\xc7"
        "\x5a\x00\x3f\x08\x9d\x27\x39\x83\x9d\xec\x58\xb9\x64\xec\x38\x43";

    pool = test_pool();

    key = test_text(pool, "Jefe");
    text = test_text(pool, "what do ya want for nothing?");

    test_check(ngx_gcs_crypto_hmac(&key, &text, digest) == NGX_OK, NULL);
    test_check(memcmp(digest, want, sizeof(digest)) == 0, "RFC 4231");
    test_check(ERR_peek_error() == 0, NULL);

    ngx_destroy_pool(pool);
}


static void
test_dates(void)
{
    ngx_str_t     text;
    ngx_pool_t   *pool;
    test_date_t  *t;

    pool = test_pool();

    for (t = dates; t->text; t++) {
        text.data = ngx_pnalloc(pool, NGX_GCS_SIGN_DATE_LEN);
        text.len = ngx_gcs_sign_date(t->now, text.data) - text.data;

        test_check(test_equal(&text, t->text), t->text);
    }

    ngx_destroy_pool(pool);
}


static void
test_headers(void)
{
    char                     want[512];
    ngx_str_t                canonical;
    ngx_pool_t              *pool;
    test_headers_t          *t;
    ngx_gcs_sign_request_t   req;

    for (t = headers; t->lines; t++) {
        pool = test_pool();
        req = test_request(pool, t->fields);

        test_check(ngx_gcs_sign_canonical(pool, &req, &canonical) == NGX_OK,
                   t->lines);

        sprintf(want, "GET\n/b/o\n\n%s\n%s\nUNSIGNED-PAYLOAD", t->lines,
                t->names);

        test_check(test_equal(&canonical, want), t->lines);

        /* once more, now that they are sorted */

        test_check(ngx_gcs_sign_canonical(pool, &req, &canonical) == NGX_OK
                   && test_equal(&canonical, want), t->lines);

        ngx_destroy_pool(pool);
    }
}


/* nothing that would let one request pass for another */

static void
test_declined(void)
{
    ngx_str_t                 id, secret, canonical;
    ngx_uint_t                i;
    ngx_pool_t               *pool;
    ngx_gcs_sign_key_t        key;
    ngx_gcs_sign_request_t    req, odd;
    const char               *fields[] = { "host", "a", NULL };
    static const char        *names[] = { "", "Host", "a b", "a:b", "a\n",
                                          "a;b", "a,b", "\xc3\xa9", NULL };
    static const char        *texts[] = { "", "a b", "a\n", "\r", "a\x7f",
                                          "\xc3\xa9", NULL };
    static const char        *ids[] = { "", "a b", "a,b", "a\n", "\xff",
                                        NULL };

    pool = test_pool();
    req = test_request(pool, fields);

    for (i = 0; names[i]; i++) {
        fields[0] = names[i];
        odd = test_request(pool, fields);
        test_check(ngx_gcs_sign_canonical(pool, &odd, &canonical)
                   == NGX_DECLINED, names[i]);
    }

    for (i = 0; texts[i]; i++) {
        odd = req;
        odd.method = test_text(pool, texts[i]);
        test_check(ngx_gcs_sign_canonical(pool, &odd, &canonical)
                   == NGX_DECLINED, texts[i]);

        odd = req;
        odd.path = test_text(pool, texts[i]);
        test_check(ngx_gcs_sign_canonical(pool, &odd, &canonical)
                   == NGX_DECLINED, texts[i]);

        odd = req;
        odd.query = test_text(pool, texts[i]);
        test_check(ngx_gcs_sign_canonical(pool, &odd, &canonical)
                   == (i ? NGX_DECLINED : NGX_OK), texts[i]);

        odd = req;
        odd.payload = test_text(pool, texts[i]);
        test_check(ngx_gcs_sign_canonical(pool, &odd, &canonical)
                   == NGX_DECLINED, texts[i]);
    }

    secret = test_text(pool, TEST_SECRET);

    for (i = 0; ids[i]; i++) {
        id = test_text(pool, ids[i]);
        ngx_memzero(&key, sizeof(key));
        test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req,
                                     &canonical)
                   == NGX_DECLINED, ids[i]);
    }

    ngx_destroy_pool(pool);
}


static void
test_query(void)
{
    ngx_str_t                 query;
    ngx_pool_t               *pool;
    ngx_gcs_sign_request_t    req;
    const char               *fields[] = { "prefix", "a%2Fb", "a-b", "", "a",
                                           "2", NULL };
    const char               *same[] = { "b", "2", "a", "", "b", "10", NULL };
    const char               *none[] = { NULL };

    pool = test_pool();

    req = test_request(pool, fields);
    test_check(ngx_gcs_sign_query(pool, req.headers, &query) == NGX_OK
               && test_equal(&query, "a=2&a-b=&prefix=a%2Fb"), "by name");

    req = test_request(pool, same);
    test_check(ngx_gcs_sign_query(pool, req.headers, &query) == NGX_OK
               && test_equal(&query, "a=&b=10&b=2"), "by value");

    req = test_request(pool, none);
    test_check(ngx_gcs_sign_query(pool, req.headers, &query) == NGX_OK
               && query.len == 0, "nothing");

    ngx_destroy_pool(pool);
}


/* the request of a signed URL, signed by an independent program */

static void
test_query_vector(void)
{
    ngx_str_t                 id, secret, text;
    ngx_pool_t               *pool;
    ngx_gcs_sign_key_t        key;
    ngx_gcs_sign_request_t    req;
    const char               *fields[] = { "host", "storage.googleapis.com",
                                           NULL };

    pool = test_pool();
    req = test_request(pool, fields);

    id = test_text(pool, TEST_ID);
    secret = test_text(pool, TEST_SECRET);

    req.path = test_text(pool, "/test-bucket/test-object");
    req.query = test_text(pool,
                          "X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-"
                          "Credential=" TEST_ID "%2F20190201%2Fauto%2Fstorage"
                          "%2Fgoog4_request&X-Goog-Date=20190201T090000Z&"
                          "X-Goog-Expires=10&X-Goog-SignedHeaders=host");
    req.now = 1549011600;

    test_check(ngx_gcs_sign_canonical(pool, &req, &text) == NGX_OK, NULL);
    test_sha256_hex(&text, "ce59097b08bfb68ed3394f13a7201cf1"
                           "191b34b1d92ea3f8f3c967b893c15dff");

    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &text)
               == NGX_OK, NULL);

    test_check(test_equal(&text, "GOOG4-HMAC-SHA256 Credential=" TEST_ID
                          "/20190201/auto/storage/goog4_request, "
                          "SignedHeaders=host, Signature="
                          "a6bb5bfd48a9bb4c54d998910fb6bc9d"
                          "3793abe7c6f6d2ac937600a4c57d6a3f"),
               "the signature");

    ngx_destroy_pool(pool);
}


/* the header form, against a signature made public by others */

static void
test_header_vector(void)
{
    u_char                   *p;
    ngx_str_t                 id, secret, text;
    ngx_pool_t               *pool;
    ngx_gcs_sign_key_t        key;
    ngx_gcs_sign_request_t    req;
    const char               *fields[] = {
        "x-goog-meta-mtime", "1", "x-goog-if-generation-match", "0",
        "x-goog-date", "20130524T000000Z", "host", "storage.googleapis.com",
        NULL };

    pool = test_pool();
    req = test_request(pool, fields);

    id = test_text(pool, TEST_ID);
    secret = test_text(pool, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

    req.method = test_text(pool, "PUT");
    req.path = test_text(pool, "/b/k");
    req.payload = test_text(pool, NGX_GCS_SIGN_EMPTY);
    req.now = 1369353600;

    p = ngx_array_push(req.headers);
    ((ngx_keyval_t *) p)->key = test_text(pool, "x-goog-content-sha256");
    ((ngx_keyval_t *) p)->value = req.payload;

    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &text)
               == NGX_OK, NULL);

    test_check(test_equal(&text, "GOOG4-HMAC-SHA256 Credential=" TEST_ID
                          "/20130524/auto/storage/goog4_request, "
                          "SignedHeaders=host;x-goog-content-sha256;"
                          "x-goog-date;x-goog-if-generation-match;"
                          "x-goog-meta-mtime, Signature="
                          "6b48bb01aa54e0137ebe804932fa44fd"
                          "35ea159c8ba2f2bc07ea7382551bdd9e"),
               "the signature");

    ngx_destroy_pool(pool);
}


static void
test_key(void)
{
    ngx_str_t                 id, secret, empty, huge, one, two, three;
    ngx_pool_t               *pool;
    ngx_gcs_sign_key_t        key;
    ngx_gcs_sign_dialect_t    dialect;
    ngx_gcs_sign_request_t    req;
    const char               *fields[] = { "host", "a", NULL };

    pool = test_pool();
    req = test_request(pool, fields);

    id = test_text(pool, TEST_ID);
    secret = test_text(pool, TEST_SECRET);
    ngx_str_null(&empty);

    huge.len = NGX_GCS_SIGN_SECRET_MAX + 1;
    huge.data = ngx_pcalloc(pool, huge.len);

    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_hmac(pool, &id, &empty, &key, &req, &one)
               == NGX_DECLINED, "no secret");
    test_check(ngx_gcs_sign_hmac(pool, &id, &huge, &key, &req, &one)
               == NGX_DECLINED, "a huge secret");

    huge.len--;
    test_check(ngx_gcs_sign_hmac(pool, &id, &huge, &key, &req, &one)
               == NGX_OK, "the largest secret");

    ngx_memzero(&key, sizeof(key));

    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &one)
               == NGX_OK, NULL);

    /* kept for the day: a broken one is used as it is */

    req.now += 86399;
    key.key[0] ^= 1;
    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &two)
               == NGX_OK, NULL);
    key.key[0] ^= 1;
    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &three)
               == NGX_OK, NULL);
    test_check(memcmp(two.data, three.data, three.len) != 0, "kept");

    /* and made anew for the next */

    req.now++;
    key.key[0] ^= 1;
    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &two)
               == NGX_OK, NULL);
    ngx_memzero(&key, sizeof(key));
    test_check(ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &three)
               == NGX_OK, NULL);
    test_check(two.len == three.len
               && memcmp(two.data, three.data, three.len) == 0, "renewed");
    test_check(one.len == two.len && memcmp(one.data, two.data, one.len) != 0,
               "another day");

    ngx_str_set(&dialect.algorithm, "GOOG4-HMAC-SHA256");
    ngx_str_set(&dialect.prefix, "GOOG4");
    ngx_str_set(&dialect.location, "auto");
    ngx_str_set(&dialect.service, "storage");
    ngx_str_set(&dialect.terminator, "goog4_request");

    test_check(ngx_gcs_sign_authorization(pool, &dialect, &id, &key, &req,
                                          &one)
               == NGX_OK
               && memcmp(one.data, three.data, three.len) == 0, "by parts");

    req.now += 86400;
    test_check(ngx_gcs_sign_authorization(pool, &dialect, &id, &key, &req,
                                          &one)
               == NGX_ERROR, "an outdated key");

    ngx_destroy_pool(pool);
}


static void
test_no_memory(void)
{
    ngx_int_t                 rc;
    ngx_str_t                 id, secret, text;
    ngx_uint_t                n;
    ngx_pool_t               *pool, *keep;
    ngx_gcs_sign_key_t        key;
    ngx_gcs_sign_request_t    req;
    const char               *fields[] = { "host", "a", NULL };

    keep = test_pool();
    req = test_request(keep, fields);

    id = test_text(keep, TEST_ID);
    secret = test_text(keep, TEST_SECRET);

    for (n = 1; /* void */ ; n++) {
        pool = test_pool();
        ngx_memzero(&key, sizeof(key));

        shim_allocs = 0;
        shim_fail_at = n;

        rc = ngx_gcs_sign_hmac(pool, &id, &secret, &key, &req, &text);

        shim_fail_at = 0;

        ngx_destroy_pool(pool);

        if (shim_allocs < n) {
            break;
        }

        test_check(rc == NGX_ERROR, "no memory");
    }

    test_check(rc == NGX_OK && n > 1 && n <= 4, "at most three allocations");

    shim_allocs = 0;
    shim_fail_at = 1;
    test_check(ngx_gcs_sign_query(keep, req.headers, &text) == NGX_ERROR,
               "no memory");
    shim_fail_at = 0;

    ngx_destroy_pool(keep);
}


static ngx_gcs_sign_request_t
test_request(ngx_pool_t *pool, const char **fields)
{
    ngx_keyval_t            *header;
    ngx_gcs_sign_request_t   req;

    req.method = test_text(pool, "GET");
    req.path = test_text(pool, "/b/o");
    ngx_str_null(&req.query);
    req.payload = test_text(pool, NGX_GCS_SIGN_UNSIGNED);
    req.now = 1767312000;

    req.headers = ngx_array_create(pool, 4, sizeof(ngx_keyval_t));

    for ( /* void */ ; *fields; fields += 2) {
        header = ngx_array_push(req.headers);
        header->key = test_text(pool, fields[0]);
        header->value = test_text(pool, fields[1]);
    }

    return req;
}


static void
test_sha256_hex(ngx_str_t *text, const char *want)
{
    u_char  digest[NGX_GCS_SHA256_LEN], hex[NGX_GCS_SHA256_LEN * 2];

    test_check(ngx_gcs_crypto_sha256(text, digest) == NGX_OK, NULL);

    ngx_hex_dump(hex, digest, NGX_GCS_SHA256_LEN);

    test_check(memcmp(hex, want, sizeof(hex)) == 0, want);
}
