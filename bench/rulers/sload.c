// SSE load generator. usage: sload PORT PATH CONC SECONDS HEADERS_FILE BODY_FILE [END_MARK]   -> one JSON line
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
typedef struct { int fd; int st; char h[16384]; int hl; int chunked; long left; int close; double t0,t1,last,maxgap; int events,reads,m,done; char lb[32]; int lbl; char tail[16]; } conn;
static double now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+t.tv_nsec*1e-9;}
static char*req; static size_t reql; static int ep,port; static double tend; static long streams,errs,incomplete,events,reads,non200; static double *ttft,*dur,*mg; static long ns,cap; static int active;
static const char*dn="[DONE]"; static int dnl=6; // what ends a whole stream
static int start(conn*c);
static void reconnect(conn*c){ if(c->fd>=0)close(c->fd); c->fd=socket(AF_INET,SOCK_STREAM,0);int o=1;setsockopt(c->fd,IPPROTO_TCP,TCP_NODELAY,&o,sizeof o);struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)};a.sin_addr.s_addr=htonl(INADDR_LOOPBACK); if(connect(c->fd,(void*)&a,sizeof a)){errs++;close(c->fd);c->fd=-1;return;} struct epoll_event e={.events=EPOLLIN,.data.ptr=c};epoll_ctl(ep,EPOLL_CTL_ADD,c->fd,&e);}
static int start(conn*c){ if(now()>=tend){ if(c->fd>=0){close(c->fd);c->fd=-1;} active--; return 0;} if(c->fd<0)reconnect(c); if(c->fd<0){active--;return 0;} c->st=0;c->hl=0;c->chunked=0;c->left=-1;c->close=0;c->events=c->reads=c->m=c->done=0;c->lbl=0;c->maxgap=0;c->t1=0; c->t0=now();c->last=c->t0; size_t off=0; while(off<reql){ssize_t r=send(c->fd,req+off,reql-off,MSG_NOSIGNAL); if(r<=0){errs++;close(c->fd);c->fd=-1;active--;return 0;} off+=r;} return 1;}
static void feed(conn*c,const char*p,long n){ static const char pat[]="data:";  for(long i=0;i<n;i++){char ch=p[i]; if(ch==pat[c->m]){ if(++c->m==5){c->events++;c->m=0;} } else c->m=(ch=='d'); if(c->done<dnl){ if(ch==dn[c->done])c->done++; else c->done=(ch==dn[0]); } } }
static void fin(conn*c){ double t=now(); streams++; events+=c->events; reads+=c->reads; if(c->done<dnl)incomplete++; if(ns<cap){ttft[ns]=c->t1-c->t0;dur[ns]=t-c->t0;mg[ns]=c->maxgap;ns++;} if(c->close){close(c->fd);c->fd=-1;} start(c);}
static int cmp(const void*a,const void*b){double x=*(double*)a,y=*(double*)b;return x<y?-1:x>y;}
static double pc(double*a,double q){ if(!ns)return 0; long i=q*(ns-1); return a[i]*1e3;}
static void onread(conn*c){ static char b[262144]; ssize_t r=recv(c->fd,b,sizeof b,0); if(r<=0){ if(r<0&&errno==EAGAIN)return; if(r==0&&c->st==1&&c->left<0&&!c->chunked){c->close=1;fin(c);return;} errs++; close(c->fd);c->fd=-1; start(c); return;}
 char*p=b;long n=r; double t=now();
 if(c->st==0){ int room=sizeof(c->h)-1-c->hl; int k=n<room?n:room; memcpy(c->h+c->hl,p,k); int old=c->hl; c->hl+=k; c->h[c->hl]=0; char*e=memmem(c->h,c->hl,"\r\n\r\n",4); if(!e)return; int used=(e-c->h+4)-old; p+=used;n-=used; *e=0; if(strncmp(c->h+9,"200",3)){non200++; if(non200<3)fprintf(stderr,"%s\n%.*s\n",c->h,(int)(n<400?n:400),p);} c->st=1; char*q; if((q=strcasestr(c->h,"\r\ncontent-length:")))c->left=atol(q+17); if(strcasestr(c->h,"\r\ntransfer-encoding: chunked"))c->chunked=1; if(strcasestr(c->h,"\r\nconnection: close"))c->close=1; c->lbl=0; if(c->chunked)c->left=-2; }
 if(n>0){ c->reads++; if(!c->t1)c->t1=t; else if(t-c->last>c->maxgap)c->maxgap=t-c->last; c->last=t;}
 if(!c->chunked){ feed(c,p,n); if(c->left>=0){c->left-=n; if(c->left<=0){fin(c);return;}} return;}
 // chunked: left=-2 reading size line; >=0 data; -3 reading CRLF after data (2 bytes) ; -4 trailer after last
 while(n>0){ if(c->left==-2){ char ch=*p++;n--; if(ch=='\n'){c->lb[c->lbl]=0;long sz=strtol(c->lb,0,16);c->lbl=0; if(sz==0){c->left=-4;c->lbl=0;} else c->left=sz;} else if(c->lbl<30)c->lb[c->lbl++]=ch; }
  else if(c->left>=0){ long k=c->left<n?c->left:n; feed(c,p,k);p+=k;n-=k;c->left-=k; if(c->left==0){c->left=-3;c->lbl=0;} }
  else if(c->left==-3){ p++;n--; if(++c->lbl==2){c->left=-2;c->lbl=0;} }
  else { char ch=*p++;n--; if(ch=='\n'){fin(c);return;} } } }
int main(int ac,char**av){ struct rlimit rl={65535,65535};setrlimit(RLIMIT_NOFILE,&rl); port=atoi(av[1]);int conc=atoi(av[3]);double secs=atof(av[4]); if(ac>7){dn=av[7];dnl=strlen(dn);} char hd[8192]={0};FILE*f=fopen(av[5],"r");int hn=fread(hd,1,8191,f);fclose(f); while(hn&&(hd[hn-1]=='\n'))hn--; hd[hn]=0; f=fopen(av[6],"r");fseek(f,0,SEEK_END);long bn=ftell(f);rewind(f);char*bd=malloc(bn+1);bn=fread(bd,1,bn,f);fclose(f); while(bn&&bd[bn-1]=='\n')bn--;
 char hh[20000];int o=sprintf(hh,"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n",av[2],port); char*l=strtok(hd,"\n"); while(l){o+=sprintf(hh+o,"%s\r\n",l);l=strtok(0,"\n");} o+=sprintf(hh+o,"Content-Length: %ld\r\n\r\n",bn); req=malloc(o+bn);memcpy(req,hh,o);memcpy(req+o,bd,bn);reql=o+bn;
 cap=2000000;ttft=malloc(cap*8);dur=malloc(cap*8);mg=malloc(cap*8); ep=epoll_create1(0); double ts=now();tend=ts+secs; conn*cs=calloc(conc,sizeof(conn)); active=conc; for(int i=0;i<conc;i++){cs[i].fd=-1;start(&cs[i]);}
 struct epoll_event ev[512]; double hard=tend+15; while(active>0&&now()<hard){int n=epoll_wait(ep,ev,512,200);for(int i=0;i<n;i++){conn*c=ev[i].data.ptr; if(c->fd>=0)onread(c);}}
 double el=now()-ts; qsort(ttft,ns,8,cmp);qsort(dur,ns,8,cmp);qsort(mg,ns,8,cmp);
 printf("{\"streams\":%ld,\"errors\":%ld,\"non200\":%ld,\"incomplete\":%ld,\"stuck\":%d,\"events\":%ld,\"reads\":%ld,\"elapsed\":%.3f,\"ttft_p50\":%.3f,\"ttft_p95\":%.3f,\"ttft_p99\":%.3f,\"dur_p50\":%.3f,\"dur_p99\":%.3f,\"maxgap_p50\":%.3f,\"maxgap_p99\":%.3f}\n",streams,errs,non200,incomplete,active,events,reads,el,pc(ttft,.5),pc(ttft,.95),pc(ttft,.99),pc(dur,.5),pc(dur,.99),pc(mg,.5),pc(mg,.99)); }
