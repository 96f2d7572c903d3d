
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <openssl/err.h>

#include "ngx_gcs_fetch_request.h"


/* the HTTP client of a worker, from its first fetch to exit_process */

typedef struct {
    CURLM                      *multi;
    ngx_queue_t                 fetches;
    ngx_event_t                 timer;
    ngx_connection_t            dummy;      /* ngx_event_ident() reads it */
    unsigned                    closing:1;
    unsigned                    starved:1;
} ngx_gcs_fetch_client_t;


static CURLM *ngx_gcs_fetch_multi(void);
static int ngx_gcs_fetch_socket(CURL *easy, curl_socket_t s, int what,
    void *data, void *socket_data);
static void ngx_gcs_fetch_starve(CURL *easy);
static void ngx_gcs_fetch_watch(ngx_event_t *ev, ngx_int_t event,
    ngx_uint_t on);
static void ngx_gcs_fetch_free_socket(ngx_connection_t *c, ngx_uint_t flags);
static curl_socket_t ngx_gcs_fetch_open(void *data, curlsocktype purpose,
    struct curl_sockaddr *addr);
static int ngx_gcs_fetch_timer(CURLM *multi, long timeout, void *data);
static void ngx_gcs_fetch_socket_handler(ngx_event_t *ev);
static void ngx_gcs_fetch_timer_handler(ngx_event_t *ev);
static void ngx_gcs_fetch_act(curl_socket_t s, int mask);
static void ngx_gcs_fetch_end_starved(void);
static void ngx_gcs_fetch_complete(ngx_gcs_fetch_t *fetch, CURLcode code);
static void ngx_gcs_fetch_destroy(ngx_gcs_fetch_t *fetch);


static ngx_gcs_fetch_client_t  ngx_gcs_fetch_client;


ngx_gcs_fetch_t *
ngx_gcs_fetch(ngx_gcs_request_t *req, ngx_gcs_fetch_conf_t *conf,
    ngx_gcs_fetch_handler_pt handler, void *data)
{
    CURLM            *multi;
    CURLMcode         code;
    ngx_pool_t       *pool;
    ngx_gcs_fetch_t  *fetch;

    multi = ngx_gcs_fetch_multi();
    if (multi == NULL) {
        return NULL;
    }

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    fetch = ngx_pcalloc(pool, sizeof(ngx_gcs_fetch_t));
    if (fetch == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    fetch->pool = pool;
    fetch->handler = handler;
    fetch->data = data;

    ngx_queue_insert_tail(&ngx_gcs_fetch_client.fetches, &fetch->queue);

    fetch->easy = curl_easy_init();
    if (fetch->easy == NULL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "curl_easy_init() failed");
        goto failed;
    }

    if (curl_easy_setopt(fetch->easy, CURLOPT_OPENSOCKETFUNCTION,
                         ngx_gcs_fetch_open) != CURLE_OK
        || ngx_gcs_fetch_set_conf(fetch, conf, req) != NGX_OK
        || ngx_gcs_fetch_set_request(fetch, req) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "request to a token endpoint could not be prepared");
        goto failed;
    }

    code = curl_multi_add_handle(multi, fetch->easy);

    ERR_clear_error();

    if (code != CURLM_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "curl_multi_add_handle() failed: %s",
                      curl_multi_strerror(code));
        goto failed;
    }

    fetch->added = 1;

    return fetch;

failed:

    ngx_gcs_fetch_destroy(fetch);

    return NULL;
}


void
ngx_gcs_fetch_cancel(ngx_gcs_fetch_t *fetch)
{
    if (fetch->done) {
        /* its handler runs: it is going away anyway */
        return;
    }

    ngx_gcs_fetch_destroy(fetch);
}


static CURLM *
ngx_gcs_fetch_multi(void)
{
    char                    *reason;
    CURLM                   *multi;
    ngx_gcs_fetch_client_t  *client;

    client = &ngx_gcs_fetch_client;

    if (client->multi) {
        return client->multi;
    }

    if (client->closing
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "fetch in a process that cannot do it");
        return NULL;
    }

    reason = ngx_gcs_fetch_check_library();
    if (reason) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "libcurl cannot be used: %s", reason);
        return NULL;
    }

    multi = curl_multi_init();
    if (multi == NULL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "curl_multi_init() failed");
        return NULL;
    }

    if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION,
                          ngx_gcs_fetch_socket) != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION,
                             ngx_gcs_fetch_timer) != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 4L) != CURLM_OK)
    {
        (void) curl_multi_cleanup(multi);
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "curl_multi_setopt() failed");
        return NULL;
    }

#if (LIBCURL_VERSION_NUM >= 0x081400)

    /* otherwise curl_multi_cleanup() waits for the resolver's threads */

    (void) curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L);

#endif

    ngx_queue_init(&client->fetches);

    ngx_memzero(&client->timer, sizeof(ngx_event_t));
    ngx_memzero(&client->dummy, sizeof(ngx_connection_t));

    /* cancelable: only the timer of a request that waits delays an exit */

    client->dummy.fd = (ngx_socket_t) -1;
    client->timer.data = &client->dummy;
    client->timer.handler = ngx_gcs_fetch_timer_handler;
    client->timer.log = ngx_cycle->log;
    client->timer.cancelable = 1;

    client->multi = multi;

    return multi;
}


static int
ngx_gcs_fetch_socket(CURL *easy, curl_socket_t s, int what, void *data,
    void *socket_data)
{
    ngx_connection_t  *c = socket_data;

    ngx_uint_t  closed;

    if (what == CURL_POLL_REMOVE) {
        if (c) {

            /* usually it is still open: libcurl may want to use it again */

            closed = (fcntl(s, F_GETFD) == -1);

            ngx_gcs_fetch_free_socket(c, closed ? NGX_CLOSE_EVENT : 0);
            (void) curl_multi_assign(ngx_gcs_fetch_client.multi, s, NULL);
        }

        return 0;
    }

    if (ngx_gcs_fetch_client.closing) {
        return 0;
    }

    if (c == NULL) {
        c = ngx_get_connection(s, ngx_cycle->log);
        if (c == NULL) {
            ngx_gcs_fetch_starve(easy);
            return 0;
        }

        c->read->handler = ngx_gcs_fetch_socket_handler;
        c->write->handler = ngx_gcs_fetch_socket_handler;
        c->read->log = c->log;
        c->write->log = c->log;

        (void) curl_multi_assign(ngx_gcs_fetch_client.multi, s, c);
    }

    ngx_gcs_fetch_watch(c->read, NGX_READ_EVENT, what & CURL_POLL_IN);
    ngx_gcs_fetch_watch(c->write, NGX_WRITE_EVENT, what & CURL_POLL_OUT);

    return 0;
}


/*
 * To tell libcurl of the failure by a result of -1 would end all transfers,
 * and was seen to crash libcurl 7.88: only this one is ended, later.
 */

static void
ngx_gcs_fetch_starve(CURL *easy)
{
    ngx_gcs_fetch_t  *fetch;

    fetch = NULL;

    (void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch);

    if (fetch) {
        fetch->starved = 1;
        ngx_gcs_fetch_client.starved = 1;
    }
}


static void
ngx_gcs_fetch_watch(ngx_event_t *ev, ngx_int_t event, ngx_uint_t on)
{
    if (on && !ev->active) {

        /* level: libcurl does not promise to read until EAGAIN */

        if (ngx_add_event(ev, event, NGX_LEVEL_EVENT) != NGX_OK) {
            ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                          "could not watch a socket of libcurl");
        }

    } else if (!on && ev->active) {
        (void) ngx_del_event(ev, event, 0);
    }
}


/* flags is NGX_CLOSE_EVENT if the socket has been closed, else 0 */

static void
ngx_gcs_fetch_free_socket(ngx_connection_t *c, ngx_uint_t flags)
{
    if (c->read->active) {
        (void) ngx_del_event(c->read, NGX_READ_EVENT, flags);
    }

    if (c->write->active) {
        (void) ngx_del_event(c->write, NGX_WRITE_EVENT, flags);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);

    /* by this an event already reported is known to be stale */

    c->fd = (ngx_socket_t) -1;
}


/*
 * While it connects, libcurl 7.88 closes a socket before it says so, and may
 * have the next one open under the same number by then: nginx would wait for
 * events of a socket that the kernel no longer watches.
 */

static curl_socket_t
ngx_gcs_fetch_open(void *data, curlsocktype purpose,
    struct curl_sockaddr *addr)
{
    ngx_uint_t         i;
    curl_socket_t      s;
    ngx_connection_t  *c;

    s = ngx_socket(addr->family, addr->socktype, addr->protocol);

    if (s == (curl_socket_t) -1) {
        return CURL_SOCKET_BAD;
    }

    c = ngx_cycle->connections;

    for (i = 0; i < ngx_cycle->connection_n; i++) {
        if (c[i].fd == s
            && c[i].read
            && c[i].read->handler == ngx_gcs_fetch_socket_handler)
        {
            ngx_gcs_fetch_free_socket(&c[i], NGX_CLOSE_EVENT);
            (void) curl_multi_assign(ngx_gcs_fetch_client.multi, s, NULL);
        }
    }

    return s;
}


static int
ngx_gcs_fetch_timer(CURLM *multi, long timeout, void *data)
{
    ngx_event_t  *ev;

    ev = &ngx_gcs_fetch_client.timer;

    /* ngx_add_timer() ignores small changes of a timer that is set */

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    if (timeout >= 0 && !ngx_gcs_fetch_client.closing) {
        ngx_add_timer(ev, (ngx_msec_t) timeout);
    }

    return 0;
}


static void
ngx_gcs_fetch_socket_handler(ngx_event_t *ev)
{
    ngx_connection_t  *c;

    c = ev->data;

    ngx_gcs_fetch_act(c->fd, ev->write ? CURL_CSELECT_OUT : CURL_CSELECT_IN);
}


static void
ngx_gcs_fetch_timer_handler(ngx_event_t *ev)
{
    ngx_gcs_fetch_act(CURL_SOCKET_TIMEOUT, 0);
}


static void
ngx_gcs_fetch_act(curl_socket_t s, int mask)
{
    int               n, running;
    CURLM            *multi;
    CURLMsg          *msg;
    CURLcode          code;
    CURLMcode         rc;
    ngx_gcs_fetch_t  *fetch;

    multi = ngx_gcs_fetch_client.multi;

    rc = curl_multi_socket_action(multi, s, mask, &running);

    /* nginx takes what is left in the queue for an error of its own */

    ERR_clear_error();

    if (rc != CURLM_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "curl_multi_socket_action() failed: %s",
                      curl_multi_strerror(rc));
    }

    for ( ;; ) {
        msg = curl_multi_info_read(multi, &n);
        if (msg == NULL) {
            break;
        }

        if (msg->msg != CURLMSG_DONE) {
            continue;
        }

        code = msg->data.result;
        fetch = NULL;

        (void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &fetch);

        if (fetch) {
            ngx_gcs_fetch_complete(fetch, code);
        }
    }

    if (ngx_gcs_fetch_client.starved) {
        ngx_gcs_fetch_client.starved = 0;
        ngx_gcs_fetch_end_starved();
    }
}


static void
ngx_gcs_fetch_end_starved(void)
{
    ngx_queue_t      *q, *fetches;
    ngx_gcs_fetch_t  *fetch;

    fetches = &ngx_gcs_fetch_client.fetches;

    q = ngx_queue_head(fetches);

    while (q != ngx_queue_sentinel(fetches)) {
        fetch = ngx_queue_data(q, ngx_gcs_fetch_t, queue);
        q = ngx_queue_next(q);

        if (fetch->starved) {
            ngx_gcs_fetch_complete(fetch, CURLE_OUT_OF_MEMORY);

            /* the handler may have cancelled any other fetch */

            q = ngx_queue_head(fetches);
        }
    }
}


static void
ngx_gcs_fetch_complete(ngx_gcs_fetch_t *fetch, CURLcode code)
{
    long                 status;
    ngx_int_t            rc;
    ngx_str_t            err;
    curl_off_t           retry_after;
    struct curl_header  *flavor;

    fetch->done = 1;

    rc = NGX_OK;
    ngx_str_null(&err);

    if (code == CURLE_WRITE_ERROR && fetch->enough) {
        code = CURLE_OK;
    }

    if (code == CURLE_OK && ngx_gcs_fetch_get_headers(fetch) != NGX_OK) {
        code = CURLE_OUT_OF_MEMORY;
    }

    if (code == CURLE_OK) {
        status = 0;
        retry_after = 0;

        (void) curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE,
                                 &status);
        (void) curl_easy_getinfo(fetch->easy, CURLINFO_RETRY_AFTER,
                                 &retry_after);

        fetch->response.status = (ngx_uint_t) status;
        fetch->response.retry_after = (time_t) retry_after;

        /* only the metadata server says so, and it always does */

        fetch->response.metadata =
            (curl_easy_header(fetch->easy, "Metadata-Flavor", 0, CURLH_HEADER,
                              -1, &flavor)
             == CURLHE_OK
             && ngx_strcmp(flavor->value, "Google") == 0);

    } else {
        rc = NGX_ERROR;

        if (fetch->too_large) {
            ngx_str_set(&err, "the answer is too large");

        } else if (fetch->starved) {
            ngx_str_set(&err, "worker_connections are not enough");

        } else {

            /* libcurl does not always find words */

            err.data = (u_char *) (fetch->error[0] ? fetch->error
                                                   : curl_easy_strerror(code));
            err.len = ngx_strlen(err.data);
        }
    }

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, ngx_cycle->log, 0,
                   "gcs fetch done: %d, status:%ui, size:%uz",
                   (int) code, fetch->response.status,
                   fetch->response.body.len);

    fetch->handler(fetch->data, rc, &fetch->response, &err);

    ngx_gcs_fetch_destroy(fetch);
}


static void
ngx_gcs_fetch_destroy(ngx_gcs_fetch_t *fetch)
{
    if (fetch->added) {
        (void) curl_multi_remove_handle(ngx_gcs_fetch_client.multi,
                                        fetch->easy);
    }

    ngx_queue_remove(&fetch->queue);

    ngx_gcs_fetch_free(fetch);

    ERR_clear_error();
}


ngx_int_t
ngx_gcs_fetch_init_process(ngx_cycle_t *cycle)
{
    /* all else when it is first needed, many workers never fetch */

    ngx_memzero(&ngx_gcs_fetch_client, sizeof(ngx_gcs_fetch_client_t));

    return NGX_OK;
}


void
ngx_gcs_fetch_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t               i;
    ngx_queue_t             *q;
    ngx_connection_t        *c;
    ngx_gcs_fetch_client_t  *client;

    client = &ngx_gcs_fetch_client;

    client->closing = 1;

    if (client->multi == NULL) {
        return;
    }

    while (!ngx_queue_empty(&client->fetches)) {
        q = ngx_queue_head(&client->fetches);
        ngx_gcs_fetch_destroy(ngx_queue_data(q, ngx_gcs_fetch_t, queue));
    }

    (void) curl_multi_cleanup(client->multi);
    client->multi = NULL;

    ERR_clear_error();

    if (client->timer.timer_set) {
        ngx_del_timer(&client->timer);
    }

    /* nginx raises an alert for each connection still in use */

    c = cycle->connections;

    for (i = 0; i < cycle->connection_n; i++) {
        if (c[i].fd != (ngx_socket_t) -1
            && c[i].read
            && c[i].read->handler == ngx_gcs_fetch_socket_handler)
        {
            ngx_gcs_fetch_free_socket(&c[i], NGX_CLOSE_EVENT);
        }
    }
}
