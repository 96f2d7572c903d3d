
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_SOURCE_H_INCLUDED_
#define _NGX_GCS_SOURCE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_credentials.h"


/* no credential, key or token has more, bytes */
#define NGX_GCS_SOURCE_MAX  65536


/* tells a file from the one that replaces it; zero: there is none */

typedef struct {
    dev_t                     dev;
    ino_t                     ino;
    off_t                     size;
    struct timespec           mtime;
} ngx_gcs_stamp_t;


/*
 * Where a credential comes from: directives alone, or a file and what
 * directives say about it.  A worker reads a file anew when it has been
 * replaced.
 */

typedef struct {
    ngx_str_t                 name;     /* of the credential, in log lines */
    ngx_str_t                 file;     /* ends with '\0'; or empty */
    ngx_gcs_credentials_t     preset;   /* what directives say */
    ngx_gcs_credentials_t    *cred;     /* what is in use */
    ngx_pool_t               *pool;     /* of cred, if a worker has read it */
    ngx_gcs_stamp_t           stamp;    /* of the file that was looked at */
    ngx_uint_t                version;  /* how often it has been read */
} ngx_gcs_source_t;


/*
 * Reads a regular file of at most max bytes; text is allocated from pool and
 * is the caller's to wipe.  NGX_OK; NGX_DECLINED and a text in *err, from
 * pool; NGX_ERROR if memory is out.  May wait for the disk, never for another
 * process.
 */
ngx_int_t ngx_gcs_source_read(ngx_pool_t *pool, ngx_str_t *file, size_t max,
    ngx_str_t *text, ngx_str_t *err);

/*
 * Makes source->cred from the preset and the file, in pool.  NGX_OK;
 * NGX_DECLINED and *err, which does not name the file; NGX_ERROR.
 */
ngx_int_t ngx_gcs_source_load(ngx_pool_t *pool, ngx_gcs_source_t *source,
    ngx_str_t *err);

/* whether this worker is the one to log what has become of the file */
typedef ngx_uint_t (*ngx_gcs_source_tell_pt)(void *data,
    ngx_gcs_stamp_t *stamp);

/*
 * Looks whether the file has been replaced, and then loads it; if that fails
 * the old credential stays.  What has happened is logged if tell says so, or
 * by the first worker if tell is NULL.  To be called while nothing uses
 * source->cred.
 */
void ngx_gcs_source_refresh(ngx_gcs_source_t *source,
    ngx_gcs_source_tell_pt tell, void *data);

/* the stamp of a file; zero if there is none, or file is empty */
void ngx_gcs_source_stamp(ngx_str_t *file, ngx_gcs_stamp_t *stamp);

#define ngx_gcs_source_changed(a, b)                                          \
    ((a)->ino != (b)->ino || (a)->dev != (b)->dev                             \
     || (a)->size != (b)->size                                                \
     || (a)->mtime.tv_sec != (b)->mtime.tv_sec                                \
     || (a)->mtime.tv_nsec != (b)->mtime.tv_nsec)


#endif /* _NGX_GCS_SOURCE_H_INCLUDED_ */
