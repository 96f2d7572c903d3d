
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_gcs_wait.h"


/* ngx_event_ident() reads it */
static ngx_connection_t  ngx_gcs_wait_connection;


void
ngx_gcs_wait(ngx_gcs_wait_t *wait, ngx_queue_t *queue, ngx_msec_t timeout,
    ngx_event_handler_pt handler, ngx_log_t *log)
{
    ngx_event_t  *ev;

    ngx_gcs_wait_cancel(wait);

    wait->waiting = 1;
    ngx_queue_insert_tail(queue, &wait->queue);

    /* not cancelable: a worker does not leave a request that waits */

    ev = &wait->timer;

    ngx_memzero(ev, sizeof(ngx_event_t));

    ngx_gcs_wait_connection.fd = (ngx_socket_t) -1;

    ev->data = &ngx_gcs_wait_connection;
    ev->handler = handler;
    ev->log = log;

    ngx_add_timer(ev, timeout);
}


void
ngx_gcs_wait_cancel(ngx_gcs_wait_t *wait)
{
    if (!wait->waiting) {
        return;
    }

    wait->waiting = 0;

    ngx_queue_remove(&wait->queue);

    if (wait->timer.timer_set) {
        ngx_del_timer(&wait->timer);
    }
}
