
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "shim.h"

#include "ngx_gcs_fileuri.h"
#include "ngx_gcs_unescape.h"


typedef struct {
    const char  *query;
    const char  *bucket;        /* NULL: refused */
    const char  *name;
} test_query_t;


typedef struct {
    const char  *text;
    const char  *decoded;
    const char  *plus;          /* with "+" for a space; NULL: the same */
} test_escape_t;


static test_query_t  queries[] = {

    /* "gs://bucket/a", "gs://bucket/a/b.jpg", "gs://bucket/~~~", base64 */

    { "fileuri=Z3M6Ly9idWNrZXQvYQ==", "bucket", "a" },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ%3D%3d", "bucket", "a" },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ=%3D", "bucket", "a" },
    { "fileuri=%5A3M6Ly9idWNrZXQvYQ==", "bucket", "a" },
    { "fileuri=Z3M6Ly9idWNrZXQvYS9iLmpwZw==", "bucket", "a/b.jpg" },
    { "fileuri=Z3M6Ly9idWNrZXQvfn5-", "bucket", "~~~" },
    { "fileuri=Z3M6Ly9idWNrZXQvfn5_", "bucket", "~~\x7f" },
    { "fileuri=Z3M6Ly9idWNrZXQvYWE=", "bucket", "aa" },
    { "fileuri=Z3M6Ly9idWNrZXQvL2E=", "bucket", "a" },
    { "a=b&fileuri=Z3M6Ly9idWNrZXQvYQ==&lsref=1", "bucket", "a" },
    { "&&fileuri=Z3M6Ly9idWNrZXQvYQ==&", "bucket", "a" },
    { "%66ile%75ri=Z3M6Ly9idWNrZXQvYQ==", "bucket", "a" },
    { "Fileuri=x&fileuri=Z3M6Ly9idWNrZXQvYQ==", "bucket", "a" },

    { "fileuri=Z3M6Ly9idWNrZXQvYQ", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ=", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ===", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ======", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvY===", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYR==", NULL, NULL },   /* bits left over */
    { "fileuri=Z3M6Ly9idWNrZXQvYWF=", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvfn5+", NULL, NULL },   /* a space */
    { "fileuri=Z3M6Ly9idWNrZXQvfn5%2B", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvfn5/", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQv*YQ==", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYQ==Z3M6", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQ=vYQ=", NULL, NULL },
    { "fileuri=%20Z3M6Ly9idWNrZXQvYQ==", NULL, NULL },
    { "fileuri==Z3M6Ly9idWNrZXQvYQ==", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQvYT9i", NULL, NULL },   /* a?b */
    { "fileuri=Z3M6Ly9idWNrZXQvYQli", NULL, NULL },   /* a TAB b */
    { "fileuri=Z3M6Ly9idWNrZXQvYQBi", NULL, NULL },   /* a NUL b */
    { "fileuri=Z3M6Ly9idWNrZXQv", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQ=", NULL, NULL },
    { "fileuri=Z3M6Ly9idWNrZXQv_w==", NULL, NULL },   /* ff */
    { "fileuri=Z3M6Ly8=", NULL, NULL },
    { "fileuri=Z3M6Ly", NULL, NULL },
    { "fileuri=czM6Ly9idWNrZXQvYQ==", NULL, NULL },   /* s3:// */

    /* not encoded but as every value of a query */

    { "fileuri=gs://bucket/a", "bucket", "a" },
    { "fileuri=gs%3A%2f%2Fbucket%2Fa", "bucket", "a" },
    { "fileuri=gs%253A%252F%252Fbucket%252Fa", "bucket", "a" },
    { "fileuri=gs://bucket/a+b", "bucket", "a b" },
    { "fileuri=gs://bucket/a%2Bb", "bucket", "a+b" },
    { "fileuri=gs://bucket/a%252Bb", "bucket", "a+b" },
    { "fileuri=gs://bucket/a%252520b", "bucket", "a%20b" },
    { "fileuri=gs://bucket/100%", "bucket", "100%" },
    { "fileuri=gs://bucket/100%25.txt", "bucket", "100%.txt" },
    { "fileuri=gs://bucket/%zz%4", "bucket", "%zz%4" },
    { "fileuri=gs://bucket/a;b=c==", "bucket", "a;b=c==" },
    { "fileuri=gs://bucket/%C3%A9%23", "bucket", "\xc3\xa9#" },
    { "fileuri=gs://bucket/%25C3%25A9", "bucket", "\xc3\xa9" },
    { "fileuri=gs://bucket/%C3%A9%2520", "bucket", "\xc3\xa9 " },
    { "fileuri=gs://bucket/%C3%A9%25C3%25A9", NULL, NULL },
    { "fileuri=gs://bucket/%C3%25A9", NULL, NULL },
    { "fileuri=gs://bucket/%25C3%A9", NULL, NULL },
    { "fileuri=gs://bucket/%C3", NULL, NULL },
    { "fileuri=gs://bucket/a?b", NULL, NULL },
    { "fileuri=gs://bucket/a%3Fb", NULL, NULL },
    { "fileuri=gs://bucket/a%253Fb", NULL, NULL },
    { "fileuri=gs://bucket/a%0Ab", NULL, NULL },
    { "fileuri=gs://bucket/a%0Db", NULL, NULL },
    { "fileuri=gs://bucket/a%2509b", NULL, NULL },
    { "fileuri=gs://bucket/a%00b", NULL, NULL },
    { "fileuri=gs://bucket%23/a", NULL, NULL },
    { "fileuri=gs://x@bucket/a", NULL, NULL },
    { "fileuri=gs://Bucket/a", NULL, NULL },
    { "fileuri=gs:/bucket/a", NULL, NULL },
    { "fileuri=gs:///a", NULL, NULL },
    { "fileuri=gs", NULL, NULL },
    { "fileuri=GS://bucket/a", NULL, NULL },
    { "fileuri=+gs://bucket/a", NULL, NULL },
    { "fileuri=%2567s://bucket/a", NULL, NULL },
    { "fileuri=gs://bucket/a/../b", "bucket", "a/../b" },
    { "fileuri=gs://bucket//../a", "bucket", "../a" },
    { "fileuri=gs://bucket/..", NULL, NULL },
    { "fileuri=gs://bucket///.", NULL, NULL },
    { "fileuri=gs://bucket//", NULL, NULL },

    /* which argument */

    { "", NULL, NULL },
    { "fileuri", NULL, NULL },
    { "fileuri=", NULL, NULL },
    { "fileuri&a=b", NULL, NULL },
    { "Fileuri=gs://bucket/a", NULL, NULL },
    { "xfileuri=gs://bucket/a", NULL, NULL },
    { "fileurix=gs://bucket/a", NULL, NULL },
    { "%66%69%6c%65%75%72%69%78=gs://bucket/a", NULL, NULL },
    { "fileuri+=gs://bucket/a", NULL, NULL },
    { "fileuri%3Dgs://bucket/a", NULL, NULL },
    { "a=b;fileuri=gs://bucket/a", NULL, NULL },
    { "fileuri=gs://bucket/a&fileuri=gs://bucket/b", NULL, NULL },
    { "fileuri=gs://bucket/a&%66%69%6c%65%75%72%69=gs://bucket/b",
      NULL, NULL },
    { "fileuri=gs://bucket/a&fileuri", NULL, NULL },
    { "fileuri=gs://bucket/a#", NULL, NULL },
    { "fileuri=gs://bucket/a&#", NULL, NULL },
    { "fileuri=gs://bucket/a b", NULL, NULL },
    { "fileuri=gs://bucket/\xc3\xa9", NULL, NULL },
    { "fileuri=gs://bucket/a&b=\xff", NULL, NULL },
    { "fileuri=gs://bucket/a&b=\x7f", NULL, NULL },
    { NULL, NULL, NULL }
};


static test_escape_t  escapes[] = {
    { "", "", NULL },
    { "plain-._~", "plain-._~", NULL },
    { "%41%4a%4A", "AJJ", NULL },
    { "%2541", "%41", NULL },
    { "%", "%", NULL },
    { "%%", "%%", NULL },
    { "%4", "%4", NULL },
    { "%%41", "%A", NULL },
    { "%4g%g4", "%4g%g4", NULL },
    { "% 1%\x10" "1", "% 1%\x10" "1", NULL },
    { "a+b", "a+b", "a b" },
    { "%2B+", "++", "+ " },
    { "%ff", "\xff", NULL },
    { NULL, NULL, NULL }
};


static void test_queries(void);
static void test_lengths(void);
static void test_escapes(void);


int
main(void)
{
    test_queries();
    test_lengths();
    test_escapes();

    return test_failures;
}


static void
test_queries(void)
{
    char              *reason;
    ngx_int_t          rc;
    ngx_str_t          query;
    ngx_pool_t        *pool;
    test_query_t      *t;
    ngx_gcs_object_t   object;

    pool = test_pool();

    for (t = queries; t->query; t++) {
        query = test_text(pool, t->query);
        reason = NULL;

        rc = ngx_gcs_fileuri(pool, &query, &object, &reason);

        if (t->bucket == NULL) {
            test_check(rc == NGX_DECLINED && reason != NULL, t->query);
            continue;
        }

        test_check(rc == NGX_OK, t->query);

        if (rc == NGX_OK) {
            test_check(test_equal(&object.bucket, t->bucket), t->query);
            test_check(test_equal(&object.name, t->name), t->query);
        }

        test_check(test_equal(&query, t->query), "the query is left alone");
    }

    query = test_text(pool, "fileuri=gs://bucket/a");

    shim_allocs = 0;
    shim_fail_at = 1;
    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);
    shim_fail_at = 0;
    test_check(rc == NGX_ERROR, "no memory");

    query = test_bytes(pool, "fileuri=gs://bucket/a\0b", 23);
    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);
    test_check(rc == NGX_DECLINED, "NUL");

    ngx_destroy_pool(pool);
}


static void
test_lengths(void)
{
    char              *reason;
    size_t             len, prefix;
    u_char             text[NGX_GCS_FILEURI_MAX + 1];
    ngx_int_t          rc;
    ngx_str_t          query;
    ngx_pool_t        *pool;
    ngx_gcs_object_t   object;

    pool = test_pool();

    prefix = sizeof("fileuri=gs://bucket/") - 1;
    memset(text, '/', sizeof(text));
    memcpy(text, "fileuri=gs://bucket/", prefix);

    /* the slashes that are lost do not count for the name */

    text[NGX_GCS_FILEURI_MAX - 1] = 'x';
    query = test_bytes(pool, text, NGX_GCS_FILEURI_MAX);
    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);
    test_check(rc == NGX_OK && test_equal(&object.name, "x"), "longest");

    text[NGX_GCS_FILEURI_MAX] = 'x';
    query = test_bytes(pool, text, NGX_GCS_FILEURI_MAX + 1);
    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);
    test_check(rc == NGX_DECLINED, "too long");

    memset(text + prefix, 'n', sizeof(text) - prefix);

    for (len = 1023; len <= 1025; len++) {
        query = test_bytes(pool, text, prefix + len);
        rc = ngx_gcs_fileuri(pool, &query, &object, &reason);
        test_check((rc == NGX_OK) == (len <= 1024), "length of a name");
    }

    ngx_destroy_pool(pool);
}


static void
test_escapes(void)
{
    u_char         *end;
    ngx_str_t       text;
    ngx_uint_t      plus;
    ngx_pool_t     *pool;
    const char     *wanted;
    test_escape_t  *t;

    pool = test_pool();

    for (t = escapes; t->text; t++) {
        for (plus = 0; plus < 2; plus++) {
            wanted = (plus && t->plus) ? t->plus : t->decoded;
            text = test_text(pool, t->text);

            end = ngx_gcs_unescape(text.data, text.data, text.len, plus);
            text.len = end - text.data;

            test_check(test_equal(&text, wanted), t->text);
        }
    }

    ngx_destroy_pool(pool);
}
