
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_WAIT_H_INCLUDED_
#define _NGX_GCS_WAIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>


/* a place in a queue, for a limited time; zeroed before first use */

typedef struct {
    ngx_queue_t    queue;
    ngx_event_t    timer;
    unsigned       waiting:1;
} ngx_gcs_wait_t;


/*
 * Waits at the end of the queue, and nowhere else any more.  The handler is
 * called from wait->timer when timeout milliseconds are over, and must cancel
 * the wait.  Until then a worker does not leave in a graceful exit.
 */
void ngx_gcs_wait(ngx_gcs_wait_t *wait, ngx_queue_t *queue,
    ngx_msec_t timeout, ngx_event_handler_pt handler, ngx_log_t *log);

/* leaves the queue, if it is in one */
void ngx_gcs_wait_cancel(ngx_gcs_wait_t *wait);


#endif /* _NGX_GCS_WAIT_H_INCLUDED_ */
