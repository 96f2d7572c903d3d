
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_escape.h"
#include "ngx_gcs_fileuri.h"


static void fuzz_again(ngx_pool_t *pool, ngx_gcs_object_t *object);
static void fuzz_found(ngx_pool_t *pool, ngx_str_t *query,
    ngx_gcs_object_t *object);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              *reason;
    ngx_int_t          rc;
    ngx_str_t          query;
    ngx_pool_t        *pool;
    ngx_gcs_object_t   object;

    pool = test_pool();
    query = test_bytes(pool, data, size);
    reason = NULL;

    rc = ngx_gcs_fileuri(pool, &query, &object, &reason);

    fuzz_check(size == 0 || memcmp(query.data, data, size) == 0);

    if (rc == NGX_OK) {
        fuzz_check(ngx_gcs_bucket_check(&object.bucket) == NGX_OK);
        fuzz_check(ngx_gcs_object_check(&object.name) == NULL);
        fuzz_check(object.name.len && object.name.data[0] != '/');
        fuzz_check(memchr(object.name.data, '?', object.name.len) == NULL);
        fuzz_check(memchr(object.name.data, '\t', object.name.len) == NULL);
        fuzz_check(memchr(query.data, '#', query.len) == NULL);

        fuzz_again(pool, &object);

    } else {
        fuzz_check(rc == NGX_DECLINED && reason != NULL);
    }

    ngx_destroy_pool(pool);

    return 0;
}


/* what was found is found again when Label Studio writes it */

static void
fuzz_again(ngx_pool_t *pool, ngx_gcs_object_t *object)
{
    u_char     *p;
    size_t      i;
    ngx_str_t   uri, text, query;

    uri.data = ngx_pnalloc(pool, sizeof("gs:///") - 1 + object->bucket.len
                                 + object->name.len);
    uri.len = ngx_sprintf(uri.data, "gs://%V/%V", &object->bucket,
                          &object->name)
              - uri.data;

    text.data = ngx_pnalloc(pool, ngx_base64_encoded_length(uri.len));
    ngx_encode_base64(&text, &uri);

    for (i = 0; i < text.len; i++) {
        if (text.data[i] == '+') {
            text.data[i] = '-';

        } else if (text.data[i] == '/') {
            text.data[i] = '_';
        }
    }

    query.data = ngx_pnalloc(pool, sizeof("x&fileuri=&y=z") - 1 + text.len);
    query.len = ngx_sprintf(query.data, "x&fileuri=%V&y=z", &text)
                - query.data;

    fuzz_found(pool, &query, object);

    /* and as it is, escaped twice, which is how often that is decoded */

    for (i = 0; i < 2; i++) {
        text.len = ngx_gcs_escape_query_len(uri.data, uri.len);
        text.data = ngx_pnalloc(pool, text.len);
        ngx_gcs_escape_query(text.data, uri.data, uri.len);

        uri = text;
    }

    p = ngx_pnalloc(pool, sizeof("fileuri=") - 1 + uri.len);
    query.len = ngx_sprintf(p, "fileuri=%V", &uri) - p;
    query.data = p;

    if (query.len <= NGX_GCS_FILEURI_MAX) {
        fuzz_found(pool, &query, object);
    }
}


static void
fuzz_found(ngx_pool_t *pool, ngx_str_t *query, ngx_gcs_object_t *object)
{
    char              *reason;
    ngx_gcs_object_t   again;

    fuzz_check(ngx_gcs_fileuri(pool, query, &again, &reason) == NGX_OK);

    fuzz_check(again.bucket.len == object->bucket.len
               && memcmp(again.bucket.data, object->bucket.data,
                         again.bucket.len)
                  == 0);
    fuzz_check(again.name.len == object->name.len
               && memcmp(again.name.data, object->name.data, again.name.len)
                  == 0);
}
