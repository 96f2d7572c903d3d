
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "fuzz.h"

#include "ngx_gcs_escape.h"
#include "ngx_gcs_object.h"


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}


/* the lengths are right, and what was escaped is what is decoded */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char        *reason;
    u_char      *last;
    ngx_int_t    rc;
    ngx_str_t    src, path, query, back;
    ngx_pool_t  *pool;

    pool = test_pool();
    src = test_bytes(pool, data, size);

    path.len = ngx_gcs_escape_path_len(src.data, src.len);
    path.data = ngx_pnalloc(pool, path.len);
    last = ngx_gcs_escape_path(path.data, src.data, src.len);

    fuzz_check(last == path.data + path.len);

    query.len = ngx_gcs_escape_query_len(src.data, src.len);
    query.data = ngx_pnalloc(pool, query.len);
    last = ngx_gcs_escape_query(query.data, src.data, src.len);

    fuzz_check(last == query.data + query.len);
    fuzz_check(memchr(query.data, '/', query.len) == NULL);

    rc = ngx_gcs_object_decode_path(pool, &path, &back, &reason);

    if (rc == NGX_OK) {
        fuzz_check(back.len == src.len);
        fuzz_check(memcmp(back.data, src.data, src.len) == 0);

    } else {
        /* nothing but a dot segment can be wrong with it */

        fuzz_check(strstr(reason, "segment") != NULL);
        fuzz_check(memchr(src.data, '.', src.len) != NULL);
    }

    ngx_destroy_pool(pool);

    return 0;
}
