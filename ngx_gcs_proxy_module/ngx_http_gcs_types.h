
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_TYPES_H_INCLUDED_
#define _NGX_HTTP_GCS_TYPES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_gcs_credentials.h"
#include "ngx_gcs_escape.h"
#include "ngx_gcs_explain.h"
#include "ngx_gcs_fetch.h"
#include "ngx_gcs_metrics.h"
#include "ngx_gcs_object.h"
#include "ngx_gcs_sign.h"
#include "ngx_gcs_signing.h"
#include "ngx_gcs_token.h"


#if !(NGX_HTTP_SSL)
#error "ngx_gcs_proxy_module needs nginx built with http_ssl_module"
#endif

#if !(NGX_HTTP_CACHE)
#error "ngx_gcs_proxy_module needs nginx built with the HTTP cache"
#endif


#define NGX_HTTP_GCS_VERSION  "0.1.0"

#define NGX_HTTP_GCS_USER_AGENT  "ngx_gcs_proxy_module/" NGX_HTTP_GCS_VERSION

#define NGX_HTTP_GCS_READ   (NGX_HTTP_GET|NGX_HTTP_HEAD)
#define NGX_HTTP_GCS_WRITE  (NGX_HTTP_PUT|NGX_HTTP_DELETE)


/* who asks: a credential, or nobody in particular */

typedef struct {
    ngx_str_t                    name;
    ngx_gcs_source_t             source;
    ngx_gcs_fetch_conf_t         fetch;
    ngx_str_t                    quota_project;
    ngx_gcs_token_t             *token;      /* NULL: needs none */
    ngx_gcs_signer_t            *signer;     /* NULL: not by IAM */
    ngx_gcs_sign_key_t           key;        /* derived from an HMAC key, */
    ngx_uint_t                   key_version;  /* as of this version */
    ngx_gcs_metrics_row_t       *metrics;    /* NULL: nothing is counted */
    unsigned                     searched:1; /* for default credentials */
    unsigned                     undeclared:1;  /* is "default" */
    unsigned                     writes:1;   /* in some location */
    unsigned                     presigns:1; /* likewise */
    unsigned                     signature:1;  /* the application's URL is
                                                  fetched as it is */
} ngx_http_gcs_identity_t;


/* "gcs_endpoint", as written */

typedef struct {
    ngx_str_t                    name;       /* a host or an upstream */
    ngx_str_t                    host;       /* of "Host"; with the port */
    ngx_str_t                    sni;        /* the same without it */
    ngx_str_t                   *file;       /* where it is written */
    ngx_uint_t                   line;
    in_port_t                    port;       /* 0: not written */
    unsigned                     tls:1;
} ngx_http_gcs_address_t;


/*
 * An endpoint in use: one for each (address, verification, CA file, number of
 * connections kept), so that locations share connections and TLS sessions
 * exactly when they would trust each other's.
 */

typedef struct {
    ngx_http_gcs_address_t       address;
    ngx_flag_t                   verify;
    ngx_str_t                    ca;
    ngx_uint_t                   keepalive;

    ngx_str_t                    upstream;   /* the name of the upstream */
    ngx_ssl_t                   *ssl;
} ngx_http_gcs_endpoint_t;


typedef struct {
    ngx_str_t                    name;       /* "x-goog-..." */
    ngx_str_t                    lowcase;
    ngx_http_complex_value_t     value;
    ngx_str_t                    source;     /* the value as written */
} ngx_http_gcs_header_t;


/* where a signed URL leads: "gcs_presign_host" */

typedef enum {
    NGX_HTTP_GCS_PATH_STYLE = 0,  /* https://HOST/BUCKET/OBJECT */
    NGX_HTTP_GCS_VIRTUAL_STYLE,   /* https://BUCKET.HOST/OBJECT */
    NGX_HTTP_GCS_BOUND_STYLE      /* https://HOST-OF-THE-BUCKET/OBJECT */
} ngx_http_gcs_style_e;


typedef struct {
    ngx_uint_t                   style;      /* ngx_http_gcs_style_e */
    ngx_uint_t                   tls;
    ngx_str_t                    host;       /* of a bucket's own */
} ngx_http_gcs_presign_host_t;


typedef struct {
    ngx_uint_t                   json;
    ngx_uint_t                   status;     /* of a redirect; 0: by method */
} ngx_http_gcs_presign_answer_t;


/* who signs URLs for an identity */

typedef enum {
    NGX_HTTP_GCS_SIGNS_NOT = 0,
    NGX_HTTP_GCS_SIGNS_HERE,      /* its own key */
    NGX_HTTP_GCS_SIGNS_IAM
} ngx_http_gcs_signs_e;


typedef struct ngx_http_gcs_status_s  ngx_http_gcs_status_t;
typedef struct ngx_http_gcs_status_page_s  ngx_http_gcs_status_page_t;
typedef struct ngx_http_gcs_check_s  ngx_http_gcs_check_t;
typedef struct ngx_http_gcs_status_location_s  ngx_http_gcs_status_location_t;


typedef struct {
    ngx_array_t                  identities; /* ngx_http_gcs_identity_t * */
    ngx_array_t                  endpoints;  /* ngx_http_gcs_endpoint_t * */
    ngx_array_t                  locations;  /* ngx_http_gcs_loc_conf_t * */
    ngx_array_t                  takeovers;  /* ..._takeover_conf_t * */
    ngx_array_t                  checks;     /* ngx_http_gcs_check_t * */
    ngx_gcs_token_store_t        tokens;
    ngx_gcs_aws_environment_t    aws;
    ngx_gcs_url_cache_t         *url_cache;  /* our own, if there is need */
    ngx_gcs_signing_pool_t      *threads;    /* that sign; or NULL */
    ngx_http_gcs_status_t       *status;     /* NULL: nobody counts */
    ngx_array_t                  written;    /* of ngx_gcs_object_t: where
                                                some location writes */
    ngx_shm_zone_t              *written_zone;  /* NULL: nothing cached */

    ngx_int_t                    slice_range;  /* variable's index */
    unsigned                     aws_known:1;  /* the environment was read */
    unsigned                     hmac:1;     /* some identity signs */
    unsigned                     quota_projects:1;  /* ... or is billed */
    unsigned                     enabled:1;  /* some location uses us */
    unsigned                     caches:1;   /* ... and has a cache */
    unsigned                     apis:1;     /* ... and is "gcs_api" */
    unsigned                     lists:1;    /* ... and has "gcs_autoindex" */
    unsigned                     cors:1;     /* ... and has headers of CORS */
} ngx_http_gcs_main_conf_t;


/* the block "gcs_credentials" while it is read */

typedef struct {
    ngx_http_gcs_main_conf_t    *gmcf;
    ngx_http_gcs_identity_t     *identity;
    ngx_uint_t                   application_default;
    ngx_uint_t                   metadata_server;
    ngx_str_t                    file;
    ngx_str_t                    hmac_file;
    ngx_str_t                    pool;
    ngx_str_t                    provider;
    ngx_str_t                    project_number;
    ngx_str_t                    project_id;
    ngx_str_t                    service_account;
    ngx_str_t                    subject_token;
    ngx_str_t                    subject_token_type;
    ngx_str_t                    scope;
    ngx_str_t                    universe_domain;
    ngx_str_t                    quota_project;
    ngx_str_t                    token_endpoint;
    ngx_str_t                    sts_endpoint;
    ngx_str_t                    iam_endpoint;
    time_t                       token_lifetime;
    ngx_msec_t                   timeout;
    ngx_str_t                    trusted_certificate;
    ngx_str_t                    proxy;
} ngx_http_gcs_block_t;


/* of an upstream: what our wrapper around its balancer calls */

typedef struct {
    ngx_http_upstream_init_pt        original_init_upstream;
    ngx_http_upstream_init_peer_pt   original_init_peer;
    ngx_http_gcs_endpoint_t         *endpoint;   /* the last that uses it */
} ngx_http_gcs_srv_conf_t;


typedef struct ngx_http_gcs_loc_conf_s  ngx_http_gcs_loc_conf_t;
typedef struct ngx_http_gcs_takeover_s  ngx_http_gcs_takeover_t;
typedef struct ngx_http_gcs_takeover_conf_s  ngx_http_gcs_takeover_conf_t;
typedef struct ngx_http_gcs_verdict_conf_s  ngx_http_gcs_verdict_conf_t;
typedef struct ngx_http_gcs_list_s  ngx_http_gcs_list_t;
typedef struct ngx_http_gcs_api_s  ngx_http_gcs_api_t;
typedef struct ngx_http_gcs_api_conf_s  ngx_http_gcs_api_conf_t;

struct ngx_http_gcs_loc_conf_s {
    /* "gcs_pass": a value with variables, or a bucket and a prefix */
    ngx_http_complex_value_t    *pass;
    ngx_gcs_object_t             target;
    ngx_str_t                    location;   /* what it replaces of a URI */
    ngx_str_t                   *file;       /* where it is written */
    ngx_uint_t                   line;
    ngx_str_t                    name;       /* of the location, as written */

    ngx_http_complex_value_t    *object;     /* "gcs_object" */

    ngx_http_complex_value_t    *auth;
    ngx_http_gcs_identity_t     *identity;   /* NULL: auth has variables */

    ngx_http_gcs_address_t      *address;
    ngx_http_gcs_address_t      *universe_address;  /* without that one */
    ngx_flag_t                   ssl_verify;
    ngx_str_t                    ssl_trusted_certificate;
    ngx_uint_t                   keepalive;

    ngx_uint_t                   methods;    /* as configured */
    ngx_uint_t                   allowed;    /* bits NGX_HTTP_GET, ... only */
    ngx_str_t                    allow;      /* the same as a header value */
    ngx_array_t                 *buckets;    /* of ngx_gcs_object_t */

    ngx_http_complex_value_t    *user_project;
    ngx_str_t                    user_project_source;
    ngx_array_t                 *headers;    /* of ngx_http_gcs_header_t */
    ngx_array_t                 *write_headers;  /* of ngx_str_t */
    ngx_array_t                 *pass_headers;   /* likewise */

    ngx_http_complex_value_t    *mode;       /* NULL: "proxy" */
    time_t                       presign_ttl;
    time_t                       presign_window;  /* 0: off; or unset */
    ngx_str_t                    presign_method;  /* empty: the request's */
    ngx_array_t                 *presign_query;   /* ngx_http_gcs_header_t */
    ngx_array_t                 *presign_headers; /* likewise */
    ngx_http_gcs_presign_host_t     *presign_host;
    ngx_http_gcs_presign_answer_t   *presign_answer;
    ngx_gcs_url_cache_t         *presign_cache;   /* as configured */
    ngx_gcs_url_cache_t         *url_cache;       /* NULL: none */

    ngx_http_gcs_takeover_conf_t    *takeover;
    ngx_array_t                 *takeover_hosts;  /* ..._redirect_host_t */
    ngx_flag_t                   takeover_unsigned;
    ngx_http_gcs_verdict_conf_t  *takeover_cache;  /* NULL: off */

    ngx_http_gcs_api_conf_t     *api;        /* "gcs_api"; NULL: off */

    ngx_http_gcs_status_page_t  *status_page;     /* "gcs_status" */
    ngx_http_gcs_status_location_t  *status;      /* what counts it */
    ngx_http_gcs_check_t        *check;           /* "gcs_check" */

    ngx_uint_t                   autoindex;  /* ..._autoindex_e */
    ngx_flag_t                   autoindex_recursive;
    void                        *autoindex_filter;  /* ngx_regex_t; or NULL */
    ngx_int_t                    autoindex_requests;  /* 0: of any number */
    ngx_msec_t                   autoindex_timeout;   /* 0: of any length */

    ngx_str_t                    index;      /* "gcs_index"; empty: off */
    ngx_str_t                    not_found;  /* "gcs_not_found", likewise */
    ngx_uint_t                   not_found_status;

    ngx_msec_t                   token_timeout;
    ngx_flag_t                   nosniff;
    ngx_flag_t                   sandbox;    /* unset: of what is taken over */

    /* the stock proxy of this location */
    ngx_http_upstream_conf_t    *proxy;
    void                       **loc_conf;   /* of all modules, here */
    ngx_http_gcs_loc_conf_t     *parent;
    ngx_http_handler_pt          proxy_handler;
    ngx_http_handler_pt          enclosing;  /* ... of an outer gcs_pass */
    ngx_http_gcs_endpoint_t     *endpoint;
    ngx_str_t                    cache_key;  /* the user's, as written */

    unsigned                     direct:1;   /* see ngx_http_gcs_proxied() */
    unsigned                     http2:1;    /* to the upstream */
    unsigned                     gunzip:1;   /* nginx decompresses here */
    unsigned                     sliced:1;   /* "slice" is in effect */
    unsigned                     telling:1;  /* clients know generations */
    unsigned                     passing:1;  /* gcs_pass is in effect */
    unsigned                     taking:1;   /* some gcs_takeover leads here */
    unsigned                     waiting:1;  /* variables: wait for a token */
    unsigned                     signing:1;  /* ... and for a signed URL */
};


/* where a request to GCS stands, for the wrapper around the upstream */

typedef enum {
    NGX_HTTP_GCS_HEADER = 0,      /* reading the response header */
    NGX_HTTP_GCS_BODY,            /* reading the body of an error */
    NGX_HTTP_GCS_HOLD,            /* waiting for a token or a timer */
    NGX_HTTP_GCS_RESUME           /* the wait is over */
} ngx_http_gcs_step_e;


/* goes on after a wait: rc is NGX_OK, or an HTTP status */
typedef void (*ngx_http_gcs_resume_pt)(ngx_http_request_t *r, ngx_int_t rc);


typedef struct {
    ngx_http_request_t          *request;
    ngx_http_gcs_identity_t     *identity;
    ngx_http_gcs_status_location_t  *location;  /* or NULL */

    ngx_gcs_object_t             object;
    ngx_str_t                    uri;        /* escaped "/bucket/object" */
    ngx_str_t                    moved;      /* the same of what goes away */
    ngx_str_t                    lent;       /* the client's, meanwhile */
    ngx_http_gcs_takeover_t     *takeover;   /* NULL: there is none */
    ngx_http_gcs_api_t          *api;        /* NULL: not of "gcs_api" */
    ngx_array_t                 *given;      /* ngx_keyval_t: the client's
                                                headers that GCS gets */
    ngx_http_gcs_list_t         *list;       /* NULL: not of a folder */
    ngx_str_t                    error;      /* "$gcs_error" */
    ngx_str_t                    details;    /* the same in words */

    ngx_str_t                    folder;     /* that "gcs_index" is of */
    ngx_uint_t                   absent;     /* what comes after 404 */
    ngx_str_t                    absent_uri; /* ... and what was */
    ngx_str_t                    absent_error;
    ngx_str_t                    absent_details;

    ngx_http_gcs_resume_pt       resume;     /* when the wait is over */
    ngx_gcs_token_waiter_t       waiter;
    ngx_gcs_signing_waiter_t     signing;
    ngx_uint_t                   generation; /* of the token sent */
    ngx_str_t                    signature;  /* by an HMAC key, ... */
    time_t                       signed_at;
    ngx_str_t                    signed_url;
    time_t                       signed_until;

    /* what stood in r->headers_out before the proxy ran */
    ngx_list_part_t             *part;
    ngx_uint_t                   nelts;

    /* the wrapper around the upstream */
    ngx_http_gcs_step_e          step;
    ngx_uint_t                   status;     /* of GCS */
    ngx_uint_t                   result;     /* of the wait: 0 is retry */
    ngx_uint_t                   attempts;
    ngx_uint_t                   attempt;    /* index of the one retried */
    ngx_http_upstream_t         *upstream;   /* the one that is wrapped */
    ngx_http_upstream_conf_t    *conf;       /* the real one, in a retry */
    ngx_event_t                  timer;
    ngx_recv_pt                  recv;
    void                       **loc_conf;   /* the real one, ... */
    void                       **error_conf; /* and what stands for it */
    ngx_table_elt_t             *header;     /* added for an error */

    ngx_http_upstream_srv_conf_t     *us;
    void                             *peer_data;
    ngx_event_get_peer_pt             get;
    ngx_event_free_peer_pt            free;
    ngx_event_set_peer_session_pt     set_session;
    ngx_event_save_peer_session_pt    save_session;

    ngx_int_t                  (*process_header)(ngx_http_request_t *r);
    ngx_int_t                  (*reinit_request)(ngx_http_request_t *r);
    void                       (*finalize_request)(ngx_http_request_t *r,
                                                   ngx_int_t rc);

    unsigned                     addressed:1;
    unsigned                     lending:1;  /* ours is in its place */
    unsigned                     lent_valid:1;
    unsigned                     taken:1;    /* the takeover is of this */
    unsigned                     listing:1;  /* of a folder is asked for */
    unsigned                     indexed:1;  /* the object is an index */
    unsigned                     probing:1;  /* is there a folder? */
    unsigned                     probed:1;   /* there is none */
    unsigned                     replaced:1; /* it is of gcs_not_found */
    unsigned                     bare:1;     /* not as the client says */
    unsigned                     settled:1;  /* no rewrite can follow */
    unsigned                     quiet:1;    /* a variable asks */
    unsigned                     optional:1; /* a signature for variables */
    unsigned                     unsigned_url:1;  /* it has failed */
    unsigned                     passed:1;   /* the proxy has been run */
    unsigned                     presigned:1;
    unsigned                     pending:1;  /* sent without a token */
    unsigned                     retry:1;
    unsigned                     rewind:1;   /* the balancer, for it */
    unsigned                     cacheable:1;
    unsigned                     reauthorized:1;
    unsigned                     ranged:1;   /* the client's Range was sent */
    unsigned                     no_range:1; /* ... must not be sent again */
    unsigned                     gzip:1;     /* the client takes gzip */
    unsigned                     gzip_known:1;
    unsigned                     generation_known:1;  /* ... by the client */
    unsigned                     answered:1; /* by GCS, the last attempt */
    unsigned                     keyless:1;  /* no token is sent: the address
                                                of a session is its key */
} ngx_http_gcs_ctx_t;


/* what an unset value of a directive looks like, by its slot */

typedef enum {
    NGX_HTTP_GCS_UNSET_PTR = 0,
    NGX_HTTP_GCS_UNSET_STR,
    NGX_HTTP_GCS_UNSET_FLAG,
    NGX_HTTP_GCS_UNSET_UINT,
    NGX_HTTP_GCS_UNSET_BITS
} ngx_http_gcs_unset_e;


/* the client's conditions, as data of a variable */

typedef enum {
    NGX_HTTP_GCS_IF_RANGE = 0,
    NGX_HTTP_GCS_IF_MATCH,
    NGX_HTTP_GCS_IF_NONE_MATCH,
    NGX_HTTP_GCS_IF_MODIFIED_SINCE,
    NGX_HTTP_GCS_IF_UNMODIFIED_SINCE
} ngx_http_gcs_condition_e;


#endif /* _NGX_HTTP_GCS_TYPES_H_INCLUDED_ */
