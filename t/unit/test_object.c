
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_object.h"


#define test_name(s)  { sizeof(s) - 1, s }


typedef struct {
    const char  *url;
    const char  *bucket;        /* NULL: refused */
    const char  *name;
} test_url_t;


typedef struct {
    size_t       len;
    const char  *name;
} test_name_t;


typedef struct {
    const char  *raw;
    const char  *path;          /* NULL: refused */
} test_path_t;


typedef struct {
    const char  *path;
    const char  *uri;
    ngx_uint_t   same;
} test_same_t;


static test_url_t  urls[] = {
    { "gs://bucket/a/b.txt", "bucket", "a/b.txt" },
    { "gs://bucket", "bucket", "" },
    { "gs://bucket/", "bucket", "" },
    { "gs://bucket//x", "bucket", "/x" },
    { "gs://bucket/a/", "bucket", "a/" },
    { "gs://my.bucket_1-x/a%2Fb?c#d", "my.bucket_1-x", "a%2Fb?c#d" },
    { "gs://bucket/gs://other/x", "bucket", "gs://other/x" },
    { "gs://bucket/a b+c", "bucket", "a b+c" },
    { "", NULL, NULL },
    { "gs:/", NULL, NULL },
    { "gs://", NULL, NULL },
    { "gs:///x", NULL, NULL },
    { "GS://bucket/x", NULL, NULL },
    { "s3://bucket/x", NULL, NULL },
    { "gs://Bucket/x", NULL, NULL },
    { "gs://bu?ket/x", NULL, NULL },
    { "gs://bucket?x/y", NULL, NULL },
    { "gs://user@bucket/x", NULL, NULL },
    { "gs://bucket:80/x", NULL, NULL },
    { "gs://../x", NULL, NULL },
    { " gs://bucket/x", NULL, NULL },
    { "bucket/x", NULL, NULL },
    { NULL, NULL, NULL }
};


static const char  *good_buckets[] = {
    "abc", "a-b", "a_b", "a.b", "0ab", "ab0", "my-bucket.example.com", NULL
};


static const char  *bad_buckets[] = {
    "", "a", "ab", "-ab", "ab-", ".ab", "ab.", "_ab", "ab_", "Abc", "aBc",
    "a/b", "a b", "a%2fb", "a\nb", "\xc3\xa9zz", "...", "a:b", "a@b", NULL
};


static test_name_t  good_names[] = {
    test_name(""),
    test_name("a/plus+plus.txt"),
    test_name("b/c/'(1).txt"),
    test_name("b/c/="),
    test_name("b/c/@"),
    test_name("\xe3\x81\x82"),
    test_name("\xe3\x82\xaf\xe3\x82\xba/\xe3\x82\xb4.txt"),
    test_name("\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d abc \xd8\xb3"),
    test_name("%bad%file%name%"),
    test_name("\xe3\x80\x80"),
    test_name("a b"),
    test_name("a%2Fb"),
    test_name("a?b"),
    test_name("a#b"),
    test_name("a//b"),
    test_name("/"),
    test_name("/x/"),
    test_name("..."),
    test_name(".a"),
    test_name("\t\x01\x7f"),
    test_name("caf\xc3\xa9"),             /* NFC */
    test_name("cafe\xcc\x81"),            /* NFD */
    test_name("\xc2\x80"),                /* the first of 2 bytes */
    test_name("\xdf\xbf"),                /* the last */
    test_name("\xe0\xa0\x80"),            /* the first of 3 */
    test_name("\xed\x9f\xbf"),            /* before the surrogates */
    test_name("\xee\x80\x80"),            /* behind them */
    test_name("\xef\xbf\xbf"),            /* the last of 3 */
    test_name("\xf0\x90\x80\x80"),        /* the first of 4 */
    test_name("\xf0\x9f\x98\x80"),
    test_name("\xf4\x8f\xbf\xbf"),        /* U+10FFFF */
    { 0, NULL }
};


static test_name_t  bad_names[] = {
    test_name("."),
    test_name(".."),
    test_name("a\0b"),
    test_name("a\rb"),
    test_name("a\nb"),
    test_name("\xff"),
    test_name("\xfe"),
    test_name("\x80"),                    /* a tail without a head */
    test_name("a\xbf"),
    test_name("\xc3"),                    /* a head without a tail */
    test_name("\xc3("),
    test_name("\xe3\x81"),
    test_name("\xe3\x81z"),
    test_name("\xf0\x9f\x98"),
    test_name("\xf0\x9f\x98z"),
    test_name("\xf0\x9fz\x80"),
    test_name("\xc0\x80"),                /* overlong */
    test_name("\xc0\xaf"),
    test_name("\xc1\xbf"),
    test_name("\xe0\x80\xaf"),
    test_name("\xe0\x9f\xbf"),
    test_name("\xf0\x80\x80\xaf"),
    test_name("\xf0\x8f\xbf\xbf"),
    test_name("\xed\xa0\x80"),            /* surrogates */
    test_name("\xed\xbf\xbf"),
    test_name("\xed\xa0\xbd\xed\xb8\x80"),
    test_name("\xf4\x90\x80\x80"),        /* U+110000 */
    test_name("\xf5\x80\x80\x80"),
    test_name("\xf8\x88\x80\x80\x80"),
    { 0, NULL }
};


static test_path_t  paths[] = {
    { "", "" },
    { "/", "/" },
    { "/a/b.txt", "/a/b.txt" },
    { "/a%20b", "/a b" },
    { "/a+b", "/a+b" },
    { "/a%2Bb", "/a+b" },
    { "/a%2fb%2F", "/a/b/" },
    { "/a%252Fb", "/a%2Fb" },
    { "/%25bad%25", "/%bad%" },
    { "/a%3Fb%23c", "/a?b#c" },
    { "/a?b=%zz", "/a" },
    { "/a%20?b", "/a " },
    { "?", "" },
    { "//a//b//", "//a//b//" },
    { "/%E3%81%82", "/\xe3\x81\x82" },
    { "/%FF", "/\xff" },
    { "/%0d%0A", "/\r\n" },
    { "/...", "/..." },
    { "/.a/a./..a/a..", "/.a/a./..a/a.." },
    { "/%2e%2e%2e", "/..." },
    { "/a?/../b", "/a" },
    { "%", NULL },
    { "/%", NULL },
    { "/%4", NULL },
    { "/a%zz", NULL },
    { "/%4g", NULL },
    { "/%g4", NULL },
    { "/%%34", NULL },
    { "/% 4", NULL },
    { "/%4?1", NULL },
    { "/.", NULL },
    { "/..", NULL },
    { ".", NULL },
    { "..", NULL },
    { "./x", NULL },
    { "../x", NULL },
    { "/./x", NULL },
    { "/../x", NULL },
    { "/a/./b", NULL },
    { "/a/../b", NULL },
    { "/a/..", NULL },
    { "/a/.", NULL },
    { "/a/../", NULL },
    { "/%2e%2E/x", NULL },
    { "/%2E", NULL },
    { "/a/.%2e/b", NULL },
    { "/a%2F..%2fb", NULL },
    { "/a%2f%2e", NULL },
    { "/..?x", NULL },
    { NULL, NULL }
};


static test_same_t  sames[] = {
    { "", "", 1 },
    { "/", "/", 1 },
    { "//", "/", 1 },
    { "/a", "/a", 1 },
    { "//a", "/a", 1 },
    { "/a//b", "/a/b", 1 },
    { "///a///b///", "/a/b/", 1 },
    { "/a/", "/a", 0 },
    { "/a", "/a/", 0 },
    { "/a", "/A", 0 },
    { "/a", "/ab", 0 },
    { "/ab", "/a", 0 },
    { "", "/", 0 },
    { "/", "", 0 },
    { "//a", "//a", 0 },
    { "/a//b", "/a//b", 0 },
    { "a//", "a/", 1 },
    { NULL, NULL, 0 }
};


static void test_urls(void);
static void test_buckets(void);
static void test_names(void);
static void test_paths(void);
static void test_sames(void);


int
main(void)
{
    test_urls();
    test_buckets();
    test_names();
    test_paths();
    test_sames();

    return test_failures;
}


static void
test_urls(void)
{
    char              *err;
    ngx_str_t          url;
    ngx_pool_t        *pool;
    test_url_t        *t;
    ngx_gcs_object_t   object;

    pool = test_pool();

    for (t = urls; t->url; t++) {
        url = test_text(pool, t->url);

        err = ngx_gcs_object_parse_url(&url, &object);

        if (t->bucket == NULL) {
            test_check(err != NULL, t->url);
            continue;
        }

        test_check(err == NULL, t->url);
        test_check(test_equal(&object.bucket, t->bucket), t->url);
        test_check(test_equal(&object.name, t->name), t->url);
    }

    ngx_destroy_pool(pool);
}


static void
test_buckets(void)
{
    u_char        text[223];
    ngx_str_t     bucket;
    ngx_pool_t   *pool;
    const char  **t;

    pool = test_pool();

    for (t = good_buckets; *t; t++) {
        bucket = test_text(pool, *t);
        test_check(ngx_gcs_bucket_check(&bucket) == NGX_OK, *t);
    }

    for (t = bad_buckets; *t; t++) {
        bucket = test_text(pool, *t);
        test_check(ngx_gcs_bucket_check(&bucket) != NGX_OK, *t);
    }

    memset(text, 'a', sizeof(text));

    bucket = test_bytes(pool, text, 222);
    test_check(ngx_gcs_bucket_check(&bucket) == NGX_OK, "222 bytes");

    bucket = test_bytes(pool, text, 223);
    test_check(ngx_gcs_bucket_check(&bucket) != NGX_OK, "223 bytes");

    bucket = test_bytes(pool, "a\0b", 3);
    test_check(ngx_gcs_bucket_check(&bucket) != NGX_OK, "NUL");

    ngx_destroy_pool(pool);
}


static void
test_names(void)
{
    u_char        text[1025];
    ngx_str_t     name;
    ngx_pool_t   *pool;
    test_name_t  *t;

    pool = test_pool();

    for (t = good_names; t->name; t++) {
        name = test_bytes(pool, t->name, t->len);
        test_check(ngx_gcs_object_check(&name) == NULL, t->name);
    }

    for (t = bad_names; t->name; t++) {
        name = test_bytes(pool, t->name, t->len);
        test_check(ngx_gcs_object_check(&name) != NULL, t->name);
    }

    memset(text, 'a', sizeof(text));

    name = test_bytes(pool, text, 1024);
    test_check(ngx_gcs_object_check(&name) == NULL, "1024 bytes");

    name = test_bytes(pool, text, 1025);
    test_check(ngx_gcs_object_check(&name) != NULL, "1025 bytes");

    /* bytes are counted, not characters */

    memcpy(text + 1023, "\xc3\xa9", 2);
    name = test_bytes(pool, text, 1025);
    test_check(ngx_gcs_object_check(&name) != NULL, "1024 characters");

    ngx_destroy_pool(pool);
}


static void
test_paths(void)
{
    char         *reason;
    ngx_int_t     rc;
    ngx_str_t     raw, path;
    ngx_pool_t   *pool;
    test_path_t  *t;

    pool = test_pool();

    for (t = paths; t->raw; t++) {
        raw = test_text(pool, t->raw);
        reason = NULL;

        rc = ngx_gcs_object_decode_path(pool, &raw, &path, &reason);

        if (t->path == NULL) {
            test_check(rc == NGX_DECLINED && reason != NULL, t->raw);
            continue;
        }

        test_check(rc == NGX_OK, t->raw);
        test_check(test_equal(&path, t->path), t->raw);
    }

    raw = test_text(pool, "/plain");
    (void) ngx_gcs_object_decode_path(pool, &raw, &path, &reason);
    test_check(path.data == raw.data, "no copy of what needs none");

    raw = test_text(pool, "/a%00b");
    rc = ngx_gcs_object_decode_path(pool, &raw, &path, &reason);
    test_check(rc == NGX_OK && path.len == 4 && path.data[2] == '\0', NULL);

    shim_allocs = 0;
    shim_fail_at = 1;
    rc = ngx_gcs_object_decode_path(pool, &raw, &path, &reason);
    shim_fail_at = 0;
    test_check(rc == NGX_ERROR, "no memory");

    ngx_destroy_pool(pool);
}


static void
test_sames(void)
{
    ngx_str_t     path, uri;
    ngx_pool_t   *pool;
    test_same_t  *t;

    pool = test_pool();

    for (t = sames; t->path; t++) {
        path = test_text(pool, t->path);
        uri = test_text(pool, t->uri);

        test_check(ngx_gcs_object_same_path(&path, &uri) == t->same, t->path);
    }

    ngx_destroy_pool(pool);
}
