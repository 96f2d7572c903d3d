
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_STATUS_H_INCLUDED_
#define _NGX_HTTP_GCS_STATUS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_metrics.h"
#include "ngx_http_gcs_types.h"


/*
 * Counters for "gcs_status".  Without that directive there is no memory for
 * them, rows are NULL, and nothing is counted.
 */


typedef enum {
    NGX_HTTP_GCS_STATUS_ANY = 0,  /* JSON, or what "Accept" asks for */
    NGX_HTTP_GCS_STATUS_JSON,
    NGX_HTTP_GCS_STATUS_PROMETHEUS,
    NGX_HTTP_GCS_STATUS_OPENMETRICS
} ngx_http_gcs_status_format_e;


/* "gcs_status" of a location */

struct ngx_http_gcs_status_page_s {
    ngx_uint_t                   format;     /* ..._status_format_e */
    ngx_uint_t                   everyone;   /* "public" */
};


/* a location with "gcs_pass" or "gcs_takeover" */

struct ngx_http_gcs_status_location_s {
    ngx_http_gcs_loc_conf_t     *conf;
    ngx_str_t                    server;     /* the names, as labels */
    ngx_str_t                    name;
    ngx_gcs_metrics_row_t       *row;
    ngx_gcs_metrics_row_t       *last;       /* of the latest bucket */
};


/* of a configuration */

struct ngx_http_gcs_status_s {
    ngx_array_t                  locations;  /* ..._status_location_t * */
    ngx_shm_zone_t              *shm_zone;
    ngx_gcs_metrics_table_t     *table;
    ngx_gcs_metrics_table_t     *from;       /* of the configuration before */
    ngx_uint_t                   nrows;
    ngx_uint_t                   wanted;     /* there is a "gcs_status" */
};


/* ngx_http_gcs_status_conf.c */

/* the handler of "gcs_status" */
char *ngx_http_gcs_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* notes a location whose requests may have to be counted */
char *ngx_http_gcs_status_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf);

/* makes the shared memory, if some location wants it, when all are known */
ngx_int_t ngx_http_gcs_status_init(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);


/* ngx_http_gcs_status.c */

/* the content handler: shows the counters */
ngx_int_t ngx_http_gcs_status_handler(ngx_http_request_t *r);


/* ngx_http_gcs_status_count.c */

/* the handler of the log phase: counts the request */
ngx_int_t ngx_http_gcs_status_log_handler(ngx_http_request_t *r);

/* counts what of a request went to Cloud Storage, when that is over */
void ngx_http_gcs_status_upstream(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* the row of a bucket, which may be empty; NULL: nothing is counted */
ngx_gcs_metrics_row_t *ngx_http_gcs_status_row(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location, ngx_str_t *bucket);


/* ngx_http_gcs_local.c */

/*
 * Whether a request comes from this machine, and is nobody's who is elsewhere
 * and has only been passed on.
 */
ngx_uint_t ngx_http_gcs_local(ngx_http_request_t *r);


#endif /* _NGX_HTTP_GCS_STATUS_H_INCLUDED_ */
