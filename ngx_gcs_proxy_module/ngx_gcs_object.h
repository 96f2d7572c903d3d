
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_OBJECT_H_INCLUDED_
#define _NGX_GCS_OBJECT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_GCS_OBJECT_MAX  1024


typedef struct {
    ngx_str_t    bucket;
    ngx_str_t    name;          /* raw bytes, never escaped; may be empty */
} ngx_gcs_object_t;


/*
 * Splits "gs://BUCKET[/NAME]" at the first slash after the bucket.  NAME is
 * taken byte for byte: nothing is decoded and nothing is special in it.  The
 * result points into url.  Returns NULL, or what is wrong with the URL as a
 * constant string fit for a log line; the bucket's name is checked here, the
 * object's is not.
 */
char *ngx_gcs_object_parse_url(ngx_str_t *url, ngx_gcs_object_t *object);

/*
 * Checks a bucket name: 3-222 bytes of a-z 0-9 "-" "_" ".", beginning and
 * ending with a letter or a digit, so that it can enter a path or a host.
 * (https://cloud.google.com/storage/docs/buckets#naming)
 */
ngx_int_t ngx_gcs_bucket_check(ngx_str_t *bucket);

/*
 * Checks an object name: at most 1024 bytes of valid UTF-8 (RFC 3629), no
 * NUL, CR or LF, not "." or "..".  An empty name passes: what it means is
 * the caller's business.  Returns NULL or what is wrong.
 * (https://cloud.google.com/storage/docs/objects#naming)
 */
char *ngx_gcs_object_check(ngx_str_t *name);

/*
 * Tells whether a "." or ".." segment is in path.  To GCS it is as good a
 * name as any, but who stands between may resolve it (RFC 3986, 5.2.4), and
 * so leave the folder that the name seems to be in.
 */
ngx_uint_t ngx_gcs_object_dot_segment(ngx_str_t *path);

/*
 * Decodes the path of a request target (up to "?") once, into *path, which
 * is allocated from pool when something had to be decoded and otherwise
 * points into raw.  "+" stays a plus.  Returns NGX_OK; NGX_DECLINED and
 * *reason if an escape is malformed, or if a "." or ".." segment is there,
 * whether written plainly or escaped; NGX_ERROR if memory is out.
 */
ngx_int_t ngx_gcs_object_decode_path(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_str_t *path, char **reason);

/*
 * Tells whether path, with each run of slashes merged into one, is equal to
 * uri.  So does nginx with merge_slashes on: 1 means that every access rule
 * has seen what path says.
 */
ngx_uint_t ngx_gcs_object_same_path(ngx_str_t *path, ngx_str_t *uri);

/*
 * The length in bytes of the character at p, which is before last; 0: it is
 * not well-formed (RFC 3629, section 4).  nginx's own ngx_utf8_decode() lets
 * surrogates pass.
 */
size_t ngx_gcs_object_character(u_char *p, u_char *last);


#endif /* _NGX_GCS_OBJECT_H_INCLUDED_ */
