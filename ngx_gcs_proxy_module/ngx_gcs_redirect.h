
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_REDIRECT_H_INCLUDED_
#define _NGX_GCS_REDIRECT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_object.h"


/*
 * Where an application's redirect leads: to an object of Cloud Storage, or to
 * what is none of ours and passes as it is.  When in doubt it is none of ours,
 * since the client can still follow the redirect by itself.
 *
 * That a URL looks signed proves nothing: who can make the application
 * redirect to a URL of his own can also give it a signature that looks right.
 * Only Cloud Storage knows, so only fetching the URL as it is asks no more
 * than its holder may have; one who reads the object as somebody else trusts
 * the application's every redirect, and must limit the buckets.
 */


/* the longest URL that is read, bytes behind its scheme */
#define NGX_GCS_REDIRECT_MAX  16384


/* how a URL says which bucket it is of */

typedef enum {
    NGX_GCS_REDIRECT_PATH = 0,            /* HOST/BUCKET/OBJECT */
    NGX_GCS_REDIRECT_VIRTUAL,             /* BUCKET.HOST/OBJECT */
    NGX_GCS_REDIRECT_BOUND                /* HOST/OBJECT */
} ngx_gcs_redirect_style_e;


/* what a URL is signed with, rightly or not */

typedef enum {
    NGX_GCS_REDIRECT_UNSIGNED = 0,
    NGX_GCS_REDIRECT_V4,                  /* X-Goog-* */
    NGX_GCS_REDIRECT_V2,                  /* GoogleAccessId */
    NGX_GCS_REDIRECT_AWS4                 /* X-Amz-*, with an HMAC key */
} ngx_gcs_redirect_signature_e;


/* a host that counts as Cloud Storage */

typedef struct {
    ngx_gcs_redirect_style_e      style;
    ngx_str_t                     host;   /* in lower case, without "*." */
    in_port_t                     port;   /* 0: the default of the scheme */
    ngx_str_t                     bucket; /* of BOUND */
} ngx_gcs_redirect_host_t;


typedef struct {
    ngx_str_t                     universe;  /* empty: "googleapis.com" */
    ngx_array_t                  *hosts;  /* ngx_gcs_redirect_host_t, NULL */
} ngx_gcs_redirect_conf_t;


typedef struct {
    ngx_gcs_object_t              object; /* decoded once, checked, no dots */
    ngx_gcs_redirect_style_e      style;

    /* to fetch the URL as it is: what the signature is of */
    ngx_str_t                     host;   /* "Host": lower case, no default
                                             port */
    ngx_str_t                     target; /* path and query, untouched */

    ngx_gcs_redirect_signature_e  signature;
    time_t                        expires;   /* 0: unsigned */

    /* decoded parameters, fit for a header; NULL in data: not there */
    ngx_str_t                     disposition;
    ngx_str_t                     type;
    ngx_str_t                     generation;    /* digits */
    ngx_str_t                     user_project;

    /*
     * The scheme is not signed, so what came as "http" can be fetched by
     * "https", which asks for the same.
     */
    unsigned                      https:1;

    /*
     * There are parameters of unknown effect.  They do no harm where the URL
     * is fetched as it is, and are lost where the object is read by its name.
     */
    unsigned                      other:1;
} ngx_gcs_redirect_t;


/* ngx_gcs_redirect_host.c */

/*
 * Reads a host that shall count as Cloud Storage:
 *
 *   HOST[:PORT]           of an emulator or of a regional or private endpoint,
 *                         with the bucket in the path;
 *   *.HOST[:PORT]         with the bucket before HOST;
 *   HOST[:PORT]=BUCKET    bound to BUCKET, as load balancers and CNAMEs are.
 *
 * A host says nothing of its subdomains: an entry for "example.com" does not
 * make a bucket of "app.example.com".  Without PORT only the default one of
 * the URL's scheme counts.  Points into text, in which HOST is made lower
 * case.  Returns NULL, or what is wrong.
 */
char *ngx_gcs_redirect_host(ngx_str_t *text, ngx_gcs_redirect_host_t *host);

/*
 * Finds the style and, but for PATH, the bucket, not checked yet.  host is in
 * lower case; port is 0 if the URL has none.  Cloud Storage's own hosts are
 * "storage.UNIVERSE" and "BUCKET.storage.UNIVERSE", those of one universe
 * alone: the same bucket name is another bucket in the next.
 */
ngx_int_t ngx_gcs_redirect_match(ngx_gcs_redirect_conf_t *conf,
    ngx_str_t *host, in_port_t port, ngx_gcs_redirect_t *redirect);

/*
 * Divides HOST[:PORT]; *port is 0 if there is none.  NGX_DECLINED if it is
 * anything else, such as a user's name before "@".
 */
ngx_int_t ngx_gcs_redirect_authority(ngx_str_t *authority, ngx_str_t *host,
    in_port_t *port);


/* ngx_gcs_redirect.c */

/*
 * Reads the value of a "Location".  Returns NGX_OK; NGX_DECLINED and *reason,
 * a constant string, if it is none of ours; NGX_ERROR if memory is out.  The
 * result points into value and into memory of pool.
 *
 * None of ours is:
 *
 *   what is no absolute URL of "https" or "http", is longer than
 *   NGX_GCS_REDIRECT_MAX, or has a byte or escape that RFC 3986 does not let
 *   stand there, a fragment or a user: clients see different things in those;
 *   another host, or a port that is neither the scheme's nor in conf;
 *   a bucket without an object, an object's name that is not valid, or one
 *   with "." or ".." between slashes: a browser would follow the redirect to
 *   where they lead, while to Cloud Storage they are as good as any name;
 *   the JSON API ("/storage/v1/...", "/download/storage/...");
 *   a parameter twice, a known one empty, escaped in its name or in another
 *   case than documented; an unknown one without a value, for that is how
 *   sub-resources such as "acl" are asked for;
 *   parts of a signature but not all of it, two signatures, one whose parts
 *   do not fit each other, or one of headers that nobody who follows a
 *   redirect would send.
 *
 * "storage.cloud.google.com" needs a login, and "www.googleapis.com" is of the
 * JSON API.  Regional and private endpoints are for conf->hosts.
 */
ngx_int_t ngx_gcs_redirect_location(ngx_pool_t *pool,
    ngx_gcs_redirect_conf_t *conf, ngx_str_t *value,
    ngx_gcs_redirect_t *redirect, char **reason);

/*
 * The same of an "X-Accel-Redirect" as Label Studio sends it: after
 * "/file_download/" the URL, with a slash for "://", and for the rest escaped
 * just as it was.  Label Studio's own nginx would decode it once too often,
 * so value must be that of the header, not what nginx makes of it.
 */
ngx_int_t ngx_gcs_redirect_accel(ngx_pool_t *pool,
    ngx_gcs_redirect_conf_t *conf, ngx_str_t *value,
    ngx_gcs_redirect_t *redirect, char **reason);


/* ngx_gcs_redirect_query.c */

/*
 * Reads what a query says, of which every byte has been checked: signature,
 * expiry and known parameters of redirect.  As ngx_gcs_redirect_location().
 */
ngx_int_t ngx_gcs_redirect_query(ngx_pool_t *pool, ngx_str_t *query,
    ngx_gcs_redirect_t *redirect, char **reason);


#endif /* _NGX_GCS_REDIRECT_H_INCLUDED_ */
