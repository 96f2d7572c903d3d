
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_source.h"


static ngx_int_t ngx_gcs_source_error(ngx_pool_t *pool, ngx_str_t *err,
    ngx_err_t code, const char *what, ngx_str_t *file);
static ngx_int_t ngx_gcs_source_parse(ngx_pool_t *pool,
    ngx_gcs_source_t *source, ngx_str_t *text, ngx_gcs_credentials_t *cred,
    ngx_str_t *err);


ngx_int_t
ngx_gcs_source_read(ngx_pool_t *pool, ngx_str_t *file, size_t max,
    ngx_str_t *text, ngx_str_t *err)
{
    u_char          *p;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_int_t        rc;
    ngx_file_info_t  fi;

    /* non-blocking for the sake of what is not a regular file */

    fd = ngx_open_file(file->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return ngx_gcs_source_error(pool, err, ngx_errno,
                                    ngx_open_file_n " \"%V\" failed", file);
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        rc = ngx_gcs_source_error(pool, err, ngx_errno,
                                  ngx_fd_info_n " \"%V\" failed", file);
        goto done;
    }

    if (!ngx_is_file(&fi)) {
        rc = ngx_gcs_source_error(pool, err, 0,
                                  "\"%V\" is not a regular file", file);
        goto done;
    }

    if (ngx_file_size(&fi) > (off_t) max) {
        rc = ngx_gcs_source_error(pool, err, 0,
                                  "\"%V\" is too large", file);
        goto done;
    }

    p = ngx_pnalloc(pool, (size_t) ngx_file_size(&fi) + 1);
    if (p == NULL) {
        rc = NGX_ERROR;
        goto done;
    }

    n = ngx_read_fd(fd, p, (size_t) ngx_file_size(&fi));

    if (n == -1) {
        rc = ngx_gcs_source_error(pool, err, ngx_errno,
                                  ngx_read_fd_n " \"%V\" failed", file);
        goto done;
    }

    text->data = p;
    text->len = (size_t) n;

    rc = NGX_OK;

done:

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", file);
    }

    return rc;
}


static ngx_int_t
ngx_gcs_source_error(ngx_pool_t *pool, ngx_str_t *err, ngx_err_t code,
    const char *what, ngx_str_t *file)
{
    u_char  *p, *last;
    size_t   len;

    len = file->len + NGX_MAX_ERROR_STR / 8;

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = p + len;
    err->data = p;

    p = ngx_slprintf(p, last, what, file);

    if (code) {
        p = ngx_log_errno(p, last, code);
    }

    err->len = p - err->data;

    return NGX_DECLINED;
}


ngx_int_t
ngx_gcs_source_load(ngx_pool_t *pool, ngx_gcs_source_t *source,
    ngx_str_t *err)
{
    ngx_int_t               rc;
    ngx_str_t               text;
    ngx_gcs_credentials_t  *cred;

    cred = ngx_palloc(pool, sizeof(ngx_gcs_credentials_t));
    if (cred == NULL) {
        return NGX_ERROR;
    }

    *cred = source->preset;

    if (source->file.len == 0) {
        rc = ngx_gcs_credentials_complete(pool, cred, err);
        goto done;
    }

    /* before it is read: a change in between is seen the next time */

    ngx_gcs_source_stamp(&source->file, &source->stamp);

    rc = ngx_gcs_source_read(pool, &source->file, NGX_GCS_SOURCE_MAX, &text,
                             err);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_gcs_source_parse(pool, source, &text, cred, err);

    ngx_explicit_memzero(text.data, text.len);

done:

    if (rc == NGX_OK) {
        source->cred = cred;
        source->version++;
    }

    return rc;
}


static ngx_int_t
ngx_gcs_source_parse(ngx_pool_t *pool, ngx_gcs_source_t *source,
    ngx_str_t *text, ngx_gcs_credentials_t *cred, ngx_str_t *err)
{
    ngx_int_t  rc;

    if (cred->type != NGX_GCS_HMAC_KEY) {
        return ngx_gcs_credentials_parse(pool, text, cred, err);
    }

    rc = ngx_gcs_credentials_secret(pool, text, &cred->secret);

    if (rc == NGX_DECLINED) {
        ngx_str_set(err, "not the secret of an HMAC key, which has 40 "
                         "characters of Base64 and nothing else");
    }

    return (rc == NGX_OK) ? ngx_gcs_credentials_complete(pool, cred, err)
                          : rc;
}


void
ngx_gcs_source_refresh(ngx_gcs_source_t *source, ngx_gcs_source_tell_pt tell,
    void *data)
{
    ngx_int_t         rc;
    ngx_str_t         err;
    ngx_uint_t        log;
    ngx_pool_t       *pool;
    ngx_gcs_stamp_t   stamp;

    if (source->file.len == 0) {
        return;
    }

    ngx_gcs_source_stamp(&source->file, &stamp);

    if (!ngx_gcs_source_changed(&stamp, &source->stamp)) {
        return;
    }

    source->stamp = stamp;

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    rc = ngx_gcs_source_load(pool, source, &err);

    log = tell ? tell(data, &source->stamp) : ngx_worker == 0;

    if (rc != NGX_OK) {

        if (rc == NGX_DECLINED && log) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "gcs credentials \"%V\", file \"%V\" has been "
                          "replaced, but the old credential is kept: %V",
                          &source->name, &source->file, &err);
        }

        ngx_destroy_pool(pool);

        return;
    }

    if (source->pool) {
        ngx_destroy_pool(source->pool);
    }

    source->pool = pool;

    if (log) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "gcs credentials \"%V\": file \"%V\" has been replaced "
                      "and is used now", &source->name, &source->file);
    }
}


void
ngx_gcs_source_stamp(ngx_str_t *file, ngx_gcs_stamp_t *stamp)
{
    ngx_file_info_t  fi;

    ngx_memzero(stamp, sizeof(ngx_gcs_stamp_t));

    if (file->len == 0 || ngx_file_info(file->data, &fi) == NGX_FILE_ERROR) {
        return;
    }

    stamp->dev = fi.st_dev;
    stamp->ino = fi.st_ino;
    stamp->size = fi.st_size;
    stamp->mtime = fi.st_mtim;
}
