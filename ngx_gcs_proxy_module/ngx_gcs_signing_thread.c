
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_signing_flight.h"


/*
 * A signature by an RSA key takes the processor some tenths of a millisecond:
 * too long for an event loop that has others to serve.
 */


#if (NGX_THREADS)

/*
 * So many at a time: with more threads busy than there are processors, the
 * event loop would have to wait for its turn.
 */
#define NGX_GCS_SIGNING_THREADS  4


static ngx_int_t ngx_gcs_signing_thread_post(ngx_gcs_signing_t *signing);
static void ngx_gcs_signing_thread_sign(void *data, ngx_log_t *log);
static void ngx_gcs_signing_thread_handler(ngx_event_t *ev);
static void ngx_gcs_signing_thread_next(void);


static ngx_uint_t   ngx_gcs_signing_busy;

static ngx_queue_t  ngx_gcs_signing_line = {
    &ngx_gcs_signing_line, &ngx_gcs_signing_line
};


ngx_gcs_signing_pool_t *
ngx_gcs_signing_threads(ngx_conf_t *cf)
{
    return ngx_thread_pool_add(cf, NULL);
}


ngx_int_t
ngx_gcs_signing_thread(ngx_gcs_signing_t *signing)
{
    ngx_str_t  error;

    signing->signature.len = ngx_gcs_crypto_signature_len(signing->req.key);
    signing->signature.data = ngx_pnalloc(signing->pool,
                                          signing->signature.len);

    if (signing->signature.data == NULL) {
        goto failed;
    }

    if (ngx_gcs_signing_busy >= NGX_GCS_SIGNING_THREADS) {
        ngx_queue_insert_tail(&ngx_gcs_signing_line, &signing->line);
        signing->posted = 1;

        return NGX_AGAIN;
    }

    if (ngx_gcs_signing_thread_post(signing) == NGX_OK) {
        return NGX_AGAIN;
    }

failed:

    ngx_str_set(&error, "no memory, or no thread");
    ngx_gcs_signing_error(signing, &error, NULL);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_gcs_signing_thread_post(ngx_gcs_signing_t *signing)
{
    ngx_thread_task_t  *task;

    task = ngx_thread_task_alloc(signing->pool, 0);
    if (task == NULL) {
        return NGX_ERROR;
    }

    task->ctx = signing;
    task->handler = ngx_gcs_signing_thread_sign;
    task->event.handler = ngx_gcs_signing_thread_handler;
    task->event.data = signing;

    if (ngx_thread_task_post(signing->threads, task) != NGX_OK) {
        return NGX_ERROR;
    }

    signing->posted = 1;
    ngx_gcs_signing_busy++;

    return NGX_OK;
}


/* in the thread: nothing but the key and the two texts is touched */

static void
ngx_gcs_signing_thread_sign(void *data, ngx_log_t *log)
{
    ngx_gcs_signing_t *signing = data;

    signing->rc = ngx_gcs_crypto_sign_buffer(signing->req.key,
                                             &signing->req.text,
                                             &signing->signature);
}


static void
ngx_gcs_signing_thread_handler(ngx_event_t *ev)
{
    ngx_str_t           error;
    ngx_gcs_signing_t  *signing;

    signing = ev->data;
    signing->posted = 0;

    ngx_gcs_signing_busy--;

    ngx_gcs_signing_thread_next();

    if (signing->rc == NGX_OK) {
        ngx_gcs_signing_done(signing, &signing->signature);
        return;
    }

    ngx_str_set(&error, "the key makes no signature");
    ngx_gcs_signing_error(signing, &error, NULL);
    ngx_gcs_signing_failed(signing);
}


static void
ngx_gcs_signing_thread_next(void)
{
    ngx_str_t           error;
    ngx_queue_t        *q;
    ngx_gcs_signing_t  *signing;

    if (ngx_queue_empty(&ngx_gcs_signing_line)) {
        return;
    }

    q = ngx_queue_head(&ngx_gcs_signing_line);
    ngx_queue_remove(q);

    signing = ngx_queue_data(q, ngx_gcs_signing_t, line);

    if (ngx_gcs_signing_thread_post(signing) != NGX_OK) {
        signing->posted = 0;

        ngx_str_set(&error, "no memory, or no thread");
        ngx_gcs_signing_error(signing, &error, NULL);
        ngx_gcs_signing_failed(signing);
    }
}


#else

/* nginx was built without threads: a key signs in the event loop */

ngx_gcs_signing_pool_t *
ngx_gcs_signing_threads(ngx_conf_t *cf)
{
    return NULL;
}


ngx_int_t
ngx_gcs_signing_thread(ngx_gcs_signing_t *signing)
{
    return NGX_DECLINED;
}

#endif
